/** After a loss of power: what davit makes of a disk whose page cache is gone. The boot before told what must be there. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { isIP } from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { namesOwner } from "../../../src/drivers/cni/index.ts";
import { ImageChecked_Result as Result } from "../../../src/gen/davit/v1/images_pb.ts";
import { ContainerState, PodSandboxState } from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import { bootId, ipamDir, type RunningNode, startNode } from "./node-on-disk.ts";
import { readTold } from "./power-cut-moments.ts";

const root = "/disk/root";
const told = readTold();
let node: RunningNode;
before(async () => {
  if (told.hasNewPods) removeOwnerlessAddresses();
  node = await startNode("/nonexistent");
});
after(async () => {
  node.client[Symbol.dispose]();
  await node.stop();
});

function namesIn(directory: string, options?: { readonly recursive: true }): readonly string[] {
  try {
    return readdirSync(directory, { encoding: "utf8", ...options });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/**
 * host-local does not sync the file of an address. One that names no owner after a power cut stays in use;
 * docs/vm-results.md says so.
 */
function removeOwnerlessAddresses(): void {
  for (const name of namesIn(ipamDir, { recursive: true })) {
    if (isIP(path.basename(name)) === 0) continue;
    const file = path.join(ipamDir, name);
    if (!namesOwner(readFileSync(file, "utf8"))) rmSync(file);
  }
}

/** Sandboxes, addresses and roots that are there. */
async function objects(): Promise<readonly string[]> {
  const { client } = node;
  const { items } = await client.runtime.listPodSandbox({});
  const { containers } = await client.runtime.listContainers({});
  const addresses = namesIn(ipamDir, { recursive: true }).map((name) => path.basename(name));
  return [
    ...[...items, ...containers].map(({ id }) => id),
    ...addresses.filter((name) => /^\d+(\.\d+){3}$/.test(name)),
    ...namesIn(path.join(root, "roots")),
    ...namesIn(path.join(root, "attachments")),
  ];
}

/** Waits until davit has removed all but what is allowed, in the background. */
async function untilOnly(
  list: () => Promise<readonly string[]> | readonly string[],
): Promise<void> {
  const deadline = Date.now() + 120_000;
  for (let left = await list(); left.length > 0; left = await list()) {
    assert.ok(Date.now() < deadline, `still there: ${left.join(", ")}`);
    await sleep(50);
  }
}

test(`the records are as they were at some moment before the cut, ${told.moment}`, () => {
  const aside = namesIn(root).filter((name) => name.includes("corrupt"));
  assert.deepEqual(aside, []);
  const log = readFileSync(`/disk/daemon-${bootId()}.log`, "utf8");
  assert.doesNotMatch(log, /damaged|unreadable|cannot read/);
});

test(`sandboxes are NOTREADY and containers exited, ${told.moment}`, async () => {
  const { client } = node;
  const { items } = await client.runtime.listPodSandbox({});
  for (const { state } of items) assert.equal(state, PodSandboxState.SANDBOX_NOTREADY);
  const { containers } = await client.runtime.listContainers({});
  for (const { state } of containers) assert.equal(state, ContainerState.CONTAINER_EXITED);
  const ids = new Set([...items, ...containers].map(({ id }) => id));
  assert.deepEqual(
    [...told.pods, ...told.containers].filter((id) => !ids.has(id)),
    [],
  );
});

test(`all that is left can be removed, ${told.moment}`, async () => {
  const { client } = node;
  const { items } = await client.runtime.listPodSandbox({});
  for (const { id } of items) {
    await client.runtime.stopPodSandbox({ podSandboxId: id });
    await client.runtime.removePodSandbox({ podSandboxId: id });
  }
  await untilOnly(objects);
});

test(`images are whole or absent, ${told.moment}`, async () => {
  const { client } = node;
  const { images } = await client.image.listImages({});
  const names = new Set(images.flatMap(({ repoTags }) => repoTags));
  assert.deepEqual(
    told.whole.filter((name) => !names.has(name)),
    [],
  );
  assert.deepEqual(
    told.absent.filter((name) => names.has(name)),
    [],
  );
  for await (const { event } of client.davit.check({ images: [], deep: true })) {
    if (event.case === "problem") assert.fail(JSON.stringify(event.value));
    if (event.case === "checked") assert.equal(event.value.result, Result.WHOLE);
  }
});

test(`every image has the content that was pulled or loaded, ${told.moment}`, async () => {
  const { client } = node;
  const { images } = await client.image.listImages({});
  if (images.length === 0) return;
  const config = podConfig();
  const { podSandboxId } = await client.runtime.runPodSandbox({ config });
  for (const [at, { id }] of images.entries()) {
    const { containerId } = await client.runtime.createContainer({
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: `check-${at}`, attempt: 0 },
        image: { image: id },
        command: ["/bin/sha256sum", "-c", "-s", "/sums"],
        linux: {
          securityContext: {
            namespaceOptions: config.linux?.securityContext?.namespaceOptions ?? {},
          },
        },
      },
    });
    await client.runtime.startContainer({ containerId });
    const exitCode = async (): Promise<number | undefined> => {
      const { status } = await client.runtime.containerStatus({ containerId });
      return status?.state === ContainerState.CONTAINER_EXITED ? status.exitCode : undefined;
    };
    let code = await exitCode();
    for (; code === undefined; code = await exitCode()) await sleep(50);
    assert.equal(code, 0);
  }
  await client.runtime.stopPodSandbox({ podSandboxId });
  await client.runtime.removePodSandbox({ podSandboxId });
  await untilOnly(objects);
});

test(`nothing half-made stays, ${told.moment}`, async () => {
  await untilOnly(() => [
    ...namesIn(path.join(root, "layers")).filter(
      (name) => !/^([0-9a-f]{64}|\.empty|\.copy-up-[0-9a-f]+)$/.test(name),
    ),
    ...namesIn(path.join(root, "archives")),
  ]);
});
