/** Containers that count, their checkpoints, and pods that continue from them. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { PodSandboxConfig } from "../../../src/gen/runtime/v1/api_pb.ts";
import type { ConfigTable, TestDaemon } from "../daemon.ts";
import { patient } from "../patience.ts";
import {
  type ContainerInit,
  container,
  createIn,
  inPod,
  Node,
  type Pod,
  pidOf,
  requestIn,
  runIn,
  script,
  sh,
} from "./containers.ts";
import { cgroupsOfProcess, isFrozen, openDirectories, pod as podOf, until } from "./pods.ts";

/** What a counter says: a word that only its memory has, and how far it is. */
export interface CounterState {
  readonly word: string;
  readonly count: number;
}

/** Counts, and knows a word that only its memory has. */
export function counter(changes: ContainerInit = {}): ContainerInit {
  return script(
    "word=$(cat /proc/sys/kernel/random/uuid); i=0; trap 'exit 0' TERM; while :; do i=$((i+1)); echo $word $i | tee /state; sleep 0.1; done",
    changes,
  );
}

/** The state of a running counter. */
export async function stateOf(daemon: TestDaemon, id: string): Promise<CounterState> {
  const text = await until("the counter counts", async () => {
    const said = await sh(daemon, id, "cat /state 2>/dev/null || :");
    return /^\S+ \d+$/.test(said) ? said : undefined;
  });
  const [word = "", count] = text.split(" ");
  return { word, count: Number(count) };
}

/** Resolves when a counter has passed an earlier state, with the same word. */
export async function continuesFrom(
  daemon: TestDaemon,
  id: string,
  before: CounterState | undefined,
): Promise<void> {
  await until(`container ${id} continues to count`, async () => {
    const now = await stateOf(daemon, id);
    assert.equal(now.word, before?.word);
    return now.count > (before?.count ?? 0);
  });
}

/** Whether the processes of a running container are frozen. */
export async function isPaused(daemon: TestDaemon, id: string): Promise<boolean> {
  const cgroups = cgroupsOfProcess(await pidOf(daemon, id));
  return isFrozen(cgroups.find((each) => each.includes(id)) ?? "");
}

export function checkpointContainer(
  daemon: TestDaemon,
  containerId: string,
  location: string,
): Promise<unknown> {
  return daemon.client.runtime.checkpointContainer({ containerId, location, timeout: 0n });
}

/** Makes a checkpoint of containers of a pod, with a deadline. */
export function checkpointPod(
  pod: Pod,
  containerIds: readonly string[],
  outputPath: string,
): Promise<unknown> {
  const request = { podSandboxId: pod.id, outputPath, containerIds: [...containerIds] };
  return pod.daemon.client.runtime.checkpointPod(request, { timeoutMs: patient(30_000) });
}

/** The request for a pod that continues from a checkpoint. */
export function restoreOf(
  daemon: TestDaemon,
  checkpointPath: string,
  config: PodSandboxConfig,
  configs: readonly ContainerInit[],
): {
  readonly checkpointPath: string;
  readonly config: PodSandboxConfig;
  readonly containerConfigs: ContainerInit[];
} {
  const containerConfigs = configs.map(
    (each) => requestIn({ daemon, id: "", config }, each).config,
  );
  return { checkpointPath, config, containerConfigs };
}

/** Writes a checkpoint of a counter in a pod of the handler, with a file "/new". Returns its state before. */
export async function checkpointed(
  daemon: TestDaemon,
  handler: string,
  location: string,
): Promise<CounterState> {
  const seen: CounterState[] = [];
  await inPod(
    daemon,
    podOf(),
    async (pod) => {
      const id = await runIn(pod, counter());
      seen.push(await stateOf(daemon, id));
      await sh(daemon, id, "echo kept > /new");
      await checkpointContainer(daemon, id, location);
    },
    handler,
  );
  const [state] = seen;
  assert.ok(state !== undefined);
  return state;
}

/** The pid of the shim of a pod. */
export function shimOf({ daemon, id }: Pod): number {
  const file = path.join(daemon.paths.state, "shims/pods", id, "shim.json");
  const { process } = JSON.parse(readFileSync(file, "utf8")) as {
    readonly process: { readonly pid: number };
  };
  return process.pid;
}

/** A directory for checkpoints. */
export class CheckpointDirectory implements Disposable {
  readonly path = mkdtempSync(path.join(tmpdir(), "davit-checkpoints-"));

  at(name: string): string {
    return path.join(this.path, name);
  }

  /** A new empty directory in it. */
  make(): string {
    const output = this.at(randomUUID());
    mkdirSync(output, { mode: 0o700 });
    return output;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}

/**
 * A daemon that restores containers from archives, with this table `runtime` in its configuration. It has had its first
 * pod, checkpoint and restore, which make the bridge and directories that stay.
 */
export async function checkpointNode(
  directory: CheckpointDirectory,
  runtime: ConfigTable = {},
): Promise<Node> {
  const node = await Node.startWithBusybox({
    config: { checkpoint: { restore_containers: true }, runtime },
  });
  const { daemon } = node;
  openDirectories(daemon);
  const location = directory.at("first.tar");
  await inPod(daemon, podOf(), async (pod) => {
    await checkpointContainer(daemon, await runIn(pod), location);
    await createIn(pod, container({ image: { image: location } }));
  });
  rmSync(location);
  return node;
}
