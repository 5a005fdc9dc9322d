/** Helpers for the suites of images and containers: a daemon with a registry, and containers in pods. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfig,
  type ContainerConfigSchema,
  ContainerState,
  type ContainerStatus,
  type ExecSyncResponse,
  type Image,
  type PodSandboxConfig,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { type ConfigTable, type DaemonOptions, TestDaemon } from "../daemon.ts";
import { busyboxLayer, imageOf, type RunConfig } from "../images.ts";
import { patient } from "../patience.ts";
import { TestRegistry } from "../registry.ts";
import { withLeakCheck } from "../leaks.ts";
import { isOomWatch } from "../snapshot/processes.ts";
import { endDaemon, launchDaemon, leakOptions, removePod, runPod, until, withPod } from "./pods.ts";

export const CREATED = ContainerState.CONTAINER_CREATED;
export const RUNNING = ContainerState.CONTAINER_RUNNING;
export const EXITED = ContainerState.CONTAINER_EXITED;

/** Busybox: no USER, no ENTRYPOINT, CMD sh, and FROM_IMAGE=yes in its environment. */
export const busybox = "registry.k8s.io/e2e/busybox:1";

const runConfig: RunConfig = {
  Cmd: ["/bin/sh"],
  Env: ["PATH=/bin:/usr/bin", "FROM_IMAGE=yes"],
};

/** How a {@link Node} is started. */
interface NodeOptions extends DaemonOptions {
  /** More keys of the table "images" of the configuration. */
  readonly images?: ConfigTable;
}

/** Whether a containerd shim runs the containers of the suite, and not a monitor and an OCI runtime. */
export const byShim = process.env["DAVIT_TEST_HANDLER"] === "shim";

/** Whether runc is the OCI runtime of the suite, and not crun. */
export const byRunc = process.env["DAVIT_TEST_HANDLER"] === "runc";

/** False where the suite runs a daemon without its performance measures (variant `untuned`). */
export const isTuned = process.env["DAVIT_TEST_TUNING"] !== "off";
/** The name of the program that monitors the containers of the suite, where no shim does. */
export const monitorName =
  process.env["DAVIT_TEST_MONITOR"] === "conmon" ? "conmon" : "davit-monitor";

const tuningUnderTest: ConfigTable = isTuned ? {} : { tuning: { enable: false } };

/** The configuration that makes the handler under test the default one. */
function handlerUnderTest(config: ConfigTable): ConfigTable {
  const runtime = config["runtime"] as ConfigTable | undefined;
  if (byRunc) return { runtime: { ...runtime, default_handler: "runc" } };
  if (!byShim) return {};
  const handlers = runtime?.["handlers"] as ConfigTable | undefined;
  const shim = {
    ...(handlers?.["shim"] as ConfigTable | undefined),
    runtime_type: "io.containerd.runc.v2",
    options: { BinaryName: "crun" },
  };
  const own = { default_handler: "shim", handlers: { ...handlers, shim } };
  return { runtime: { ...runtime, ...own } };
}

/** A daemon that pulls images from a registry of its own. */
export class Node implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly registry: TestRegistry;

  private constructor(daemon: TestDaemon, registry: TestRegistry) {
    this.daemon = daemon;
    this.registry = registry;
  }

  static async start(options: NodeOptions = {}): Promise<Node> {
    const registry = await TestRegistry.start();
    const config = {
      ...options.config,
      images: { ...options.images, registry_config_path: registry.certsDir },
      ...handlerUnderTest(options.config ?? {}),
      ...tuningUnderTest,
    };
    const daemon = TestDaemon.prepare({ ...options, config });
    const node = new Node(daemon, registry);
    try {
      await launchDaemon(daemon);
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A daemon that has its bridge and the image `busybox`. */
  static async startWithBusybox(options: NodeOptions = {}): Promise<Node> {
    const node = await Node.start(options);
    try {
      await node.registry.push("e2e/busybox", imageOf([busyboxLayer()], runConfig), ["1"]);
      await pull(node.daemon, busybox);
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await endDaemon(this.daemon);
    } finally {
      await this.registry[Symbol.asyncDispose]();
    }
  }
}

// ---- images

/** Pulls an image and returns its id. */
export async function pull(daemon: TestDaemon, image: string): Promise<string> {
  const { imageRef } = await daemon.client.image.pullImage({ image: { image } });
  return imageRef;
}

export async function imageStatus(daemon: TestDaemon, image: string): Promise<Image | undefined> {
  return (await daemon.client.image.imageStatus({ image: { image } })).image;
}

export async function listImages(daemon: TestDaemon): Promise<readonly Image[]> {
  return (await daemon.client.image.listImages({})).images;
}

export async function removeImage(daemon: TestDaemon, image: string): Promise<void> {
  await daemon.client.image.removeImage({ image: { image } });
}

/** Removes all images, and waits until no layer is left. */
export async function removeAllImages(daemon: TestDaemon): Promise<void> {
  for (const { id } of await listImages(daemon)) await removeImage(daemon, id);
  assert.deepEqual(await listImages(daemon), []);
  await until("no layer is left", () => layersThere(daemon).length === 0);
}

/** The layers on the disk, with those that are incomplete or being deleted. */
export function layersThere(daemon: TestDaemon): readonly string[] {
  const directory = path.join(daemon.paths.root, "layers");
  return readdirSync(directory).filter((name) => name !== ".empty");
}

/** The body of a test that begins and ends without images, and leaves nothing. */
export function imageless(
  daemon: () => TestDaemon,
  run: () => Promise<void>,
): (t: TestContext) => Promise<void> {
  return async (t) => {
    await daemon().client.runtime.version({});
    const { allow, ...options } = leakOptions(daemon());
    // Connections to registries stay open for 15 s, for the next pull.
    const known = allow?.fd === undefined || allow.fd === true ? [] : allow.fd;
    const fd = [...known, /^socket$/];
    await withLeakCheck(t, { ...options, allow: { ...allow, fd } }, async () => {
      try {
        await run();
      } finally {
        await removeAllImages(daemon());
      }
    });
  };
}

// ---- containers

/** A container's config as a plain object. */
export type ContainerInit = Omit<
  Exclude<MessageInitShape<typeof ContainerConfigSchema>, ContainerConfig>,
  "$typeName"
>;

/** A running pod, and its config, which CreateContainer needs. */
export interface Pod {
  readonly daemon: TestDaemon;
  readonly id: string;
  readonly config: PodSandboxConfig;
}

/** Runs a pod during `use`. */
export async function inPod(
  daemon: TestDaemon,
  config: PodSandboxConfig,
  use: (pod: Pod) => Promise<void>,
  runtimeHandler = "",
): Promise<void> {
  await withPod(daemon, config, (id) => use({ daemon, id, config }), runtimeHandler);
}

/** Runs a pod that the test removes. */
export async function openPod(daemon: TestDaemon, config: PodSandboxConfig): Promise<Pod> {
  return { daemon, id: await runPod(daemon, config), config };
}

export async function closePod(pod: Pod): Promise<void> {
  await removePod(pod.daemon, pod.id);
}

let count = 0;

/** A config with a unique name for a busybox that sleeps; `changes` replaces fields. */
export function container(changes: ContainerInit = {}): ContainerInit {
  count += 1;
  return {
    metadata: { name: `container-${count}`, attempt: 0 },
    image: { image: busybox, userSpecifiedImage: busybox },
    command: ["sleep", "100000"],
    ...changes,
  };
}

/** A config of a busybox that runs a script. */
export function script(text: string, changes: ContainerInit = {}): ContainerInit {
  return container({ command: ["/bin/sh", "-c", text], ...changes });
}

/** Creates a container, with the pod's namespaces by default, as the kubelet does. */
export async function createIn(pod: Pod, config: ContainerInit = container()): Promise<string> {
  const { containerId } = await pod.daemon.client.runtime.createContainer(requestIn(pod, config));
  return containerId;
}

/** The request of createIn(). */
export function requestIn(
  pod: Pod,
  config: ContainerInit,
): {
  readonly podSandboxId: string;
  readonly config: ContainerInit;
  readonly sandboxConfig: PodSandboxConfig;
} {
  const namespaceOptions = pod.config.linux?.securityContext?.namespaceOptions;
  const securityContext = { namespaceOptions, ...config.linux?.securityContext };
  return {
    podSandboxId: pod.id,
    config: { ...config, linux: { ...config.linux, securityContext } } as ContainerInit,
    sandboxConfig: pod.config,
  };
}

export async function start(daemon: TestDaemon, containerId: string): Promise<void> {
  await daemon.client.runtime.startContainer({ containerId });
}

export async function runIn(pod: Pod, config: ContainerInit = container()): Promise<string> {
  const id = await createIn(pod, config);
  await start(pod.daemon, id);
  return id;
}

export async function stop(daemon: TestDaemon, containerId: string, seconds = 0): Promise<void> {
  await daemon.client.runtime.stopContainer({ containerId, timeout: BigInt(seconds) });
}

export async function remove(daemon: TestDaemon, containerId: string): Promise<void> {
  await daemon.client.runtime.removeContainer({ containerId });
}

export async function containerStatus(
  daemon: TestDaemon,
  containerId: string,
): Promise<ContainerStatus> {
  const { status } = await daemon.client.runtime.containerStatus({ containerId });
  assert.ok(status !== undefined);
  return status;
}

/** The parsed JSON text of the verbose status. */
export async function containerInfo(
  daemon: TestDaemon,
  containerId: string,
): Promise<Readonly<Record<string, unknown>>> {
  const { info } = await daemon.client.runtime.containerStatus({ containerId, verbose: true });
  assert.deepEqual(Object.keys(info), ["info"]);
  return JSON.parse(info["info"] ?? "") as Record<string, unknown>;
}

/** The pid of the container's process, once that runs the requested command. */
export async function pidOf(daemon: TestDaemon, containerId: string): Promise<number> {
  const { pid } = await containerInfo(daemon, containerId);
  assert.ok(typeof pid === "number" && pid > 0, `the pid is ${String(pid)}`);
  // A start ends when the OCI runtime's init process may continue: its execve comes later.
  await until(`process ${pid} runs its command`, () => {
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    // During its execve the process has no command line.
    return line !== "" && !line.includes(containerId);
  });
  return pid;
}

/** Resolves with the status of the container when it has exited. */
export async function exited(
  daemon: TestDaemon,
  id: string,
  timeoutMs = 20_000,
): Promise<ContainerStatus> {
  return until(
    `container ${id} has exited`,
    async () => {
      const status = await containerStatus(daemon, id);
      return status.state === EXITED ? status : undefined;
    },
    timeoutMs,
  );
}

/** The target of each descriptor that the daemon has open; empty for one that was closed meanwhile. */
export function descriptorsOf(daemon: TestDaemon): readonly string[] {
  const directory = `/proc/${daemon.pid}/fd`;
  return readdirSync(directory).map((name) => {
    try {
      return readlinkSync(path.join(directory, name));
    } catch {
      return "";
    }
  });
}

/**
 * How many descriptors the daemon has open, without those of OOM watches and the database's: the first checkpoint, 5 s
 * after the last write, opens one more and keeps it (src/drivers/records/checkpointer.ts).
 */
export function countDescriptors(daemon: TestDaemon): number {
  return descriptorsOf(daemon).filter(
    (target) => !target.endsWith("/davit.db") && !isOomWatch(target),
  ).length;
}

/** Output and exit code of a command. */
export interface Said {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Runs a command in a container. */
export async function exec(
  daemon: TestDaemon,
  containerId: string,
  cmd: readonly string[],
  seconds = patient(30),
): Promise<Said> {
  const answer: ExecSyncResponse = await daemon.client.runtime.execSync({
    containerId,
    cmd: [...cmd],
    timeout: BigInt(seconds),
  });
  return {
    stdout: Buffer.from(answer.stdout).toString(),
    stderr: Buffer.from(answer.stderr).toString(),
    exitCode: answer.exitCode,
  };
}

/** Runs a shell script in a container, which must succeed. Returns stdout without the last newline. */
export async function sh(daemon: TestDaemon, id: string, text: string): Promise<string> {
  const said = await exec(daemon, id, ["/bin/sh", "-c", text]);
  assert.equal(said.exitCode, 0, `${text}: ${said.stderr}`);
  return said.stdout.trimEnd();
}

/** The parsed lines of a CRI log. */
export function logLines(file: string): readonly {
  readonly timestamp: string;
  readonly stream: string;
  readonly tag: string;
  readonly text: string;
}[] {
  const lines = readFileSync(file, "utf8").split("\n");
  assert.equal(lines.pop(), "", "the log ends with a newline");
  return lines.map((line) => {
    const [, timestamp = "", stream = "", tag = "", text = ""] =
      /^(\S+) (stdout|stderr) ([FP]) ([^\n]*)$/.exec(line) ??
      assert.fail(`no CRI log line: ${line}`);
    return { timestamp, stream, tag, text };
  });
}
