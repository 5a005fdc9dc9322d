/**
 * Sites for crash tests of containers and images. They add containers in all states, a registry, and images
 * that only one scenario uses to the pods of every site.
 */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { ContainerStatus } from "../../../src/gen/runtime/v1/api_pb.ts";
import { GrpcStatusError } from "../../../src/wire/grpc/status.ts";
import {
  byShim,
  type ContainerInit,
  CREATED,
  container,
  containerInfo,
  containerStatus,
  createIn,
  EXITED,
  exited,
  layersThere,
  logLines,
  Node,
  type Pod,
  pull,
  remove,
  RUNNING,
  runIn,
  script,
  stop,
} from "../suites/containers.ts";
import {
  cgroupDirectories,
  code,
  failsWith,
  openDirectories,
  parentOf,
  until,
} from "../suites/pods.ts";
import { type CrashSite, CrashSites, type PodKind, retry } from "./sites.ts";
import type { ConfigTable, TestDaemon } from "../daemon.ts";
import { busyboxLayer, imageOf, type Layer, layerOf } from "../images.ts";

/** Busybox with a volume. The container under test has it as its image, and mounted as an image volume. */
const withVolume = "registry.k8s.io/e2e/volume:1";

/** The registry of a site's daemon. */
const nodes = new WeakMap<TestDaemon, Node>();

/** Options of a site. */
interface SiteOptions {
  readonly config?: ConfigTable;
  readonly kinds?: readonly PodKind[];
  readonly directories?: readonly string[];
  /** Called when the daemon has ended. */
  readonly end?: () => void;
}

/** Sites with containers in all states, and a registry. */
export function containerSites(prepare: () => SiteOptions = () => ({})): CrashSites {
  return new CrashSites(async () => {
    const { config, kinds, directories, end } = prepare();
    const node = await Node.startWithBusybox(config === undefined ? {} : { config });
    const { daemon } = node;
    nodes.set(daemon, node);
    // The root of a user namespace needs search permission on the path to its container, as any user does.
    openDirectories(daemon);
    const layers = [
      base,
      layerOf([
        { path: "volume/", uid: 7 },
        { path: "volume/file", body: "f" },
      ]),
    ];
    const image = imageOf(layers, { Env: ["PATH=/bin"], Volumes: { "/volume": {} } });
    await node.registry.push("e2e/volume", image, ["1"]);
    await pull(daemon, withVolume);
    return {
      daemon,
      ...(kinds === undefined ? {} : { kinds }),
      ...(directories === undefined ? {} : { directories }),
      populate: async (pods) => {
        const checks = pods.map((pod) => populate({ ...pod, daemon }));
        const all = await Promise.all(checks);
        return async () => {
          await Promise.all(all.map((check) => check()));
        };
      },
      end: async () => {
        await node[Symbol.asyncDispose]();
        end?.();
      },
    };
  });
}

/** The bystander of this kind, as a pod for containers. */
export function homeOf(site: CrashSite, kind: PodKind): Pod {
  const pod = site.bystanders.find((each) => each.kind === kind);
  assert.ok(pod !== undefined);
  return { daemon: site.daemon, id: pod.id, config: pod.config };
}

/** Makes a running, a created and an exited container in a pod. The result checks that they have not changed. */
async function populate(pod: Pod): Promise<() => Promise<void>> {
  const { daemon } = pod;
  const ids = [await runIn(pod), await createIn(pod), await runIn(pod, script("exit 5"))] as const;
  const [running, , ended] = ids;
  await exited(daemon, ended);
  // The OCI runtime's process becomes the command a moment after the start.
  const pids = (): readonly string[] => processesOf(pod, running).map((pid) => identityOf(pid));
  await until("it runs its command", () => {
    const [pid] = processesOf(pod, running);
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("sleep");
  });
  const look = async (): Promise<unknown> => [
    await Promise.all(ids.map((id) => containerStatus(daemon, id))),
    (await containerInfo(daemon, running))["pid"],
    pids(),
  ];
  const before = await look();
  return async () => {
    assert.deepEqual(await look(), before, "a bystander has changed");
  };
}

/**
 * Prints that it is up if it sees its volumes, and exits with 3 on SIGTERM. It never ends by itself.
 */
export function listener(changes: ContainerInit = {}): ContainerInit {
  const text =
    'trap "exit 3" TERM; cat /volume/file /image/file >/dev/null && echo up; while :; do sleep 1000 & wait; done';
  const image = { image: withVolume };
  const mounts = [{ containerPath: "/image", image, imageSubPath: "volume", readonly: true }];
  return script(text, { logPath: `${randomUUID()}.log`, image, mounts, ...changes });
}

/** The pid and the start time of a process, which identify it. */
function identityOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return `${pid} ${stat.slice(stat.lastIndexOf(")")).split(" ")[20] ?? ""}`;
}

/** The processes in the container's cgroup, from the kernel. */
export function processesOf(pod: Pod, id: string): readonly number[] {
  const pids = cgroupDirectories(`${parentOf(pod.config)}/${id}`)
    .map((directory) => path.join(directory, "cgroup.procs"))
    .filter((file) => existsSync(file))
    .flatMap((file) => readFileSync(file, "utf8").split("\n"))
    .filter((line) => line !== "");
  return [...new Set(pids)].map(Number).toSorted((a, b) => a - b);
}

/** The processes on the machine with the id in their command line: its monitor, OCI runtimes. */
function helpersOf(id: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
      } catch {
        return ""; // gone
      }
    })
    .filter((line) => line.includes(id));
}

/** The monitor of a running container: its monitor process, or the runc shim of its pod. */
function monitorsOf(pod: Pod, id: string): readonly string[] {
  if (!byShim) return helpersOf(id).filter((line) => line.includes(" --exit-dir "));
  return helpersOf(pod.id).filter((line) => line.includes("containerd-shim-runc-v2"));
}

/** The status of a container, after a comparison with the kernel's state. */
export async function checkContainer(
  pod: Pod,
  id: string,
  want: typeof CREATED | typeof RUNNING | typeof EXITED,
): Promise<ContainerStatus> {
  const { daemon } = pod;
  const status = await containerStatus(daemon, id);
  assert.equal(status.state, want, `state of ${id}: ${status.reason} ${status.message}`);
  if (want === RUNNING) {
    const { pid } = await containerInfo(daemon, id);
    assert.ok(typeof pid === "number", `${id} has no pid`);
    assert.ok(processesOf(pod, id).includes(pid), `${pid} is not in the cgroup of ${id}`);
    assert.equal(monitorsOf(pod, id).length, 1, "its monitor, or its pod's shim");
    assert.ok(status.startedAt >= status.createdAt, "its start is before its creation");
  } else {
    await until(`nothing runs of ${id}`, () => {
      return processesOf(pod, id).length === 0 && helpersOf(id).length === 0;
    });
    if (want === CREATED) assert.equal(status.startedAt, 0n);
  }
  return status;
}

/** The id of the listed container of this config. */
export async function listedContainer(
  daemon: TestDaemon,
  config: ContainerInit,
): Promise<string | undefined> {
  const { containers } = await daemon.client.runtime.listContainers({});
  return containers.find(({ metadata }) => metadata?.name === config.metadata?.name)?.id;
}

/** Repeats the same CreateContainer until the container exists, from this call or an earlier one. */
export async function retryCreate(
  pod: Pod,
  config: ContainerInit,
): Promise<{ readonly id: string; readonly existed: boolean }> {
  try {
    return { id: await retry("a container is made", () => createIn(pod, config)), existed: false };
  } catch (error) {
    if (!(error instanceof GrpcStatusError) || error.code !== code.alreadyExists) throw error;
    const id = await listedContainer(pod.daemon, config);
    assert.ok(id !== undefined, `not listed, and yet: ${error.message}`);
    assert.ok(error.message.includes(id), `does not name ${id}: ${error.message}`);
    return { id, existed: true };
  }
}

/** Checks that the container ran exactly once and has a log: it has printed once that it is up. */
export async function untilUp(pod: Pod, config: ContainerInit): Promise<void> {
  const file = path.join(pod.config.logDirectory, config.logPath ?? "");
  const said = (): readonly string[] =>
    existsSync(file) ? logLines(file).map(({ text }) => text) : [];
  await until("it says that it is up", () => said().length > 0);
  assert.deepEqual(said(), ["up"]);
}

/** Stops and removes the container, then looks for what is left. */
export async function endContainer(site: CrashSite, pod: Pod, id: string): Promise<void> {
  await stop(pod.daemon, id);
  await checkContainer(pod, id, EXITED);
  await remove(pod.daemon, id);
  await checkRemoved(site, pod, id);
}

export async function checkRemoved(site: CrashSite, pod: Pod, id: string): Promise<void> {
  await assert.rejects(containerStatus(pod.daemon, id), failsWith(code.notFound));
  // Idempotent: a container that does not exist is not an error.
  await stop(pod.daemon, id);
  await remove(pod.daemon, id);
  await site.checkNothingLeft();
}

/** Creates, runs, stops and removes another container. */
export async function liveContainer(pod: Pod): Promise<void> {
  const config = listener();
  const id = await runIn(pod, config);
  await untilUp(pod, config);
  await checkContainer(pod, id, RUNNING);
  await stop(pod.daemon, id, 20);
  assert.equal((await checkContainer(pod, id, EXITED)).exitCode, 3);
  await remove(pod.daemon, id);
}

// ---- images

/** An image in the registry that no other scenario uses, with two layers of its own. */
interface FreshImage {
  readonly name: string;
  readonly id: string;
  readonly layers: readonly Layer[];
  /** How often the daemon has asked for one of these layers. */
  readonly fetches: () => number;
}

const base = busyboxLayer();

export async function freshImage(daemon: TestDaemon): Promise<FreshImage> {
  const node = nodes.get(daemon);
  assert.ok(node !== undefined);
  // It has no entry for /tmp, which keeps the attributes of the base.
  const layers = ["first", "tmp/second"].map((each) =>
    layerOf([{ path: each, body: randomBytes(50_000).toString("hex") }]),
  );
  const image = imageOf([base, ...layers], { Cmd: ["/bin/sh"] });
  const tag = randomUUID();
  await node.registry.push("e2e/fresh", image, [tag]);
  const digests = layers.map(({ digest }) => digest).join("|");
  const asked = new RegExp(`^GET .*/blobs/(${digests})`);
  return {
    name: `registry.k8s.io/e2e/fresh:${tag}`,
    id: image.config.digest,
    layers,
    fetches: () => node.registry.count(asked),
  };
}

/** Checks that the image is complete: a container of it finds the files of all layers. */
export async function checkImage(pod: Pod, image: FreshImage): Promise<void> {
  const { daemon } = pod;
  const there = await daemon.client.image.imageStatus({ image: { image: image.name } });
  assert.equal(there.image?.id, image.id);
  const command = ["/bin/sh", "-c", "wc -c < /first && wc -c < /tmp/second && [ -k /tmp ]"];
  const id = await runIn(pod, container({ image: { image: image.name }, command }));
  assert.equal((await exited(daemon, id)).exitCode, 0, "a layer's file is missing");
  await remove(daemon, id);
}

/** The layers that are being unpacked or deleted. */
export function unfinishedLayers(daemon: TestDaemon): readonly string[] {
  return layersThere(daemon).filter((name) => /^\.(?!copy-up-)/.test(name));
}
