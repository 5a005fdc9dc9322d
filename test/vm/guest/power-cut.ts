/** Brings davit to the moment of this boot, and has the power cut. Without a further moment it exits. */
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { CriClient } from "../../../src/client/cri-client.ts";
import { ociLayout, tarOf } from "../../support/archives.ts";
import {
  busyboxLayer,
  type Entry,
  imageOf,
  layerOf,
  type TestImage,
} from "../../support/images.ts";
import { podConfig } from "../../support/pod.ts";
import { TestRegistry } from "../../support/registry.ts";
import { startNode } from "./node-on-disk.ts";
import { bootNumber, momentCount, readTold, type Told } from "./power-cut-moments.ts";

/**
 * Longer than ext4 keeps names (commit, 5 s) and davit its records (5 s), and shorter than the kernel keeps data
 * (dirty_expire_centisecs, 30 s): names are on the disk then, and what was not synced is empty.
 */
const commitMs = 8_000;

interface Found extends Partial<Omit<Told, "moment">> {
  /** Names of images that may be gone now. */
  readonly removed?: readonly string[];
}
interface World {
  readonly client: CriClient;
  readonly registry: TestRegistry;
}

const moments: readonly (readonly [string, (world: World) => Promise<Found>])[] = [
  ["while a layer is unpacked", duringUnpack],
  ["when a pull was answered", afterPull],
  ["a while after a pull", longAfterPulls],
  ["while an archive is loaded", duringLoad],
  ["when a load was answered", afterLoad],
  ["when containers were started", afterStarts],
  ["a while after containers were started", longAfterStarts],
  ["while pods are run and removed", duringChurn],
  ["while images are removed", duringRemovals],
];

await main();

async function main(): Promise<void> {
  if (moments.length !== momentCount) throw new Error("momentCount is not the number of moments");
  const moment = moments[bootNumber() - 1];
  if (moment === undefined) return;
  const before = bootNumber() === 1 ? undefined : readTold();
  const [name, reach] = moment;
  await using registry = await TestRegistry.start();
  using client = (await startNode(registry.certsDir)).client;
  const found = await reach({ client, registry });
  const gone = new Set(found.removed);
  const whole = [...(before?.whole ?? []), ...(found.whole ?? [])];
  const told: Told = {
    moment: name,
    whole: whole.filter((image) => !gone.has(image)),
    absent: found.absent ?? [],
    pods: found.pods ?? [],
    containers: found.containers ?? [],
    hasNewPods: found.hasNewPods ?? false,
  };
  process.stdout.write(`davit-vm: told ${JSON.stringify(told)}\ndavit-vm: cut\n`);
  await sleep(600_000);
}

/** Half of the layer has been unpacked, and its names are on the disk. */
async function duringUnpack({ client, registry }: World): Promise<Found> {
  const image = await push(registry, "half");
  registry.hold(new RegExp(`^GET .*${bigLayer("half").digest}`), 3 << 20);
  client.image.pullImage({ image: { image } }).catch(() => undefined);
  await until(() => readdirSync("/disk/root/layers").some((name) => name.startsWith(".new-")));
  await sleep(commitMs);
  return { absent: [image] };
}

async function afterPull({ client, registry }: World): Promise<Found> {
  const image = await push(registry, "pulled");
  await client.image.pullImage({ image: { image } });
  return {};
}

/** The second image has the layers of the first one, so that only its record is new. */
async function longAfterPulls({ client, registry }: World): Promise<Found> {
  const image = await push(registry, "settled");
  const other = "registry.k8s.io/cut/shared:1";
  const sharing = imageOf(testImage("settled").layers, { Env: ["PATH=/bin"], Labels: { a: "b" } });
  await registry.push("cut/shared", sharing, ["1"]);
  await client.image.pullImage({ image: { image } });
  await sleep(commitMs);
  await client.image.pullImage({ image: { image: other } });
  await sleep(commitMs);
  return { whole: [image, other] };
}

async function duringLoad({ client }: World): Promise<Found> {
  const archive = archiveOf("half-loaded");
  async function* requests() {
    yield { part: { case: "options", value: {} } } as const;
    yield { part: { case: "chunk", value: archive.subarray(0, archive.length / 2) } } as const;
    await sleep(600_000);
  }
  const load = async (): Promise<void> => {
    for await (const _ of client.davit.load(requests()));
  };
  load().catch(() => undefined);
  await sleep(commitMs);
  return { absent: [nameOf("half-loaded")] };
}

async function afterLoad({ client }: World): Promise<Found> {
  const archive = archiveOf("loaded");
  async function* requests() {
    await Promise.resolve();
    yield { part: { case: "options", value: {} } } as const;
    yield { part: { case: "chunk", value: archive } } as const;
    yield { part: { case: "end", value: {} } } as const;
  }
  for await (const _ of client.davit.load(requests()));
  return { whole: [nameOf("loaded")] };
}

async function afterStarts({ client }: World): Promise<Found> {
  await Promise.all([runPod(client), runPod(client), runPod(client)]);
  return { hasNewPods: true };
}

async function longAfterStarts(world: World): Promise<Found> {
  const pods = await Promise.all([runPod(world.client), runPod(world.client)]);
  await sleep(commitMs);
  const containers = pods.map(({ container }) => container);
  // Their addresses are in the records, by which davit frees them whatever their files contain.
  return { pods: pods.map(({ pod }) => pod), containers };
}

/**
 * Without a quiet moment, in which the records would be synced. Their log begins again, and can get the blocks that it had
 * before.
 */
async function duringChurn({ client }: World): Promise<Found> {
  const turn = async (): Promise<void> => {
    const { pod } = await runPod(client);
    await client.runtime.stopPodSandbox({ podSandboxId: pod });
    await client.runtime.removePodSandbox({ podSandboxId: pod });
  };
  await turn();
  // davit has emptied the log, then ext4 has freed its blocks.
  await sleep(2 * commitMs);
  const end = Date.now() + commitMs;
  const churn = async (): Promise<void> => {
    while (Date.now() < end) await turn();
  };
  await Promise.race([churn(), churn(), churn()]);
  return { hasNewPods: true };
}

async function duringRemovals({ client }: World): Promise<Found> {
  const removed = [nameOf("settled"), nameOf("loaded")];
  for (const image of removed) await client.image.removeImage({ image: { image } });
  return { removed };
}

/** A pod with a container that runs. */
async function runPod(client: CriClient): Promise<{ pod: string; container: string }> {
  const config = podConfig();
  const { podSandboxId } = await client.runtime.runPodSandbox({ config });
  const { containerId } = await client.runtime.createContainer({
    podSandboxId,
    sandboxConfig: config,
    config: {
      metadata: { name: "sleep", attempt: 0 },
      image: { image: nameOf("loaded") },
      command: ["/bin/sh", "-c", "echo written > /file; exec sleep 100000"],
      linux: {
        securityContext: {
          namespaceOptions: config.linux?.securityContext?.namespaceOptions ?? {},
        },
      },
    },
  });
  await client.runtime.startContainer({ containerId });
  return { pod: podSandboxId, container: containerId };
}

function nameOf(name: string): string {
  return `registry.k8s.io/cut/${name}:1`;
}

async function push(registry: TestRegistry, name: string): Promise<string> {
  await registry.push(`cut/${name}`, testImage(name), ["1"]);
  return nameOf(name);
}

function archiveOf(name: string): Buffer {
  const image = testImage(name);
  const annotations = { "io.containerd.image.name": nameOf(name) };
  return tarOf(ociLayout([image], [{ blob: image.manifest, annotations }]));
}

/** busybox, and files that no other image has. */
function testImage(name: string): TestImage {
  return imageOf([busyboxLayer(), bigLayer(name)], { Env: ["PATH=/bin"] });
}

/** 300 files of 20 KiB, and /sums with their checksums. */
function bigLayer(name: string): ReturnType<typeof layerOf> {
  const files: Entry[] = [];
  const sums: string[] = [];
  for (let at = 0; at < 300; at++) {
    const body = contentOf(`${name} ${at}`);
    const path = `data/${at}`;
    files.push({ path, body });
    sums.push(`${createHash("sha256").update(body).digest("hex")}  /${path}\n`);
  }
  return layerOf([{ path: "data/" }, ...files, { path: "sums", body: sums.join("") }]);
}

/** 20 KiB that are always the same for a seed, and cannot be compressed. */
function contentOf(seed: string): Buffer {
  const parts = Array.from({ length: 640 }, (_, at) =>
    createHash("sha256").update(`${seed} ${at}`).digest(),
  );
  return Buffer.concat(parts);
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await sleep(50);
}
