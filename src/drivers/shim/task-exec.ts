import { randomBytes } from "node:crypto";
import type { Readable } from "node:stream";

import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { messageOf } from "../../base/errors.ts";
import { beforeAbort } from "../../base/rollback.ts";
import type { ExecResult } from "../../core/container/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import { Task } from "../../gen/containerd/task/v3/task_pb.ts";
import {
  type CgroupLayout,
  cgroupProcs,
  type FifoReader,
  killProcessTree,
  makeFifo,
  openFifoReader,
} from "../../linux/index.ts";
import { removeFifos } from "./container-io.ts";
import type { Places } from "./places.ts";
import type { PodShim } from "./pod-shims.ts";
import { within } from "./within.ts";

/** What ExecSync answers of each stream at most; api.proto: "16 MB ... the rest is discarded". */
const maxOutputBytes = 16 * 1024 * 1024;
/** How long output is awaited after the command's end: what it left behind may hold it open. */
const drainMs = 250;
const killMs = 1_000;
const SIGKILL = 9;

/** The type of a process for a shim: containerd's name for an OCI process as JSON. */
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";

interface Target {
  readonly id: string;
  readonly cgroupPath: string;
  readonly shim: PodShim;
}

interface Deps {
  readonly places: Places;
  readonly cgroups: CgroupLayout;
}

/** Runs a command in a task; see ContainerRuntime.execSync. */
export async function execInTask(
  deps: Deps,
  target: Target,
  spec: string,
  operation: Operation,
): Promise<ExecResult> {
  const { id, shim } = target;
  const execId = `exec-${randomBytes(6).toString("hex")}`;
  const paths = ["stdout", "stderr"].map((name) => deps.places.execFifo(id, `${execId}-${name}`));
  const [stdoutPath = "", stderrPath = ""] = paths;
  const readers: FifoReader[] = [];
  let added = false;
  try {
    await operation.enter("write-spec");
    for (const path of paths) {
      makeFifo(path);
      readers.push(openFifoReader(path));
    }
    const [stdout, stderr] = readers.map(({ stream }) => new Output(stream));
    // The shim's OCI runtime puts the command into the container's cgroup.
    await operation.enter("make-cgroup");
    await operation.enter("start-process");
    const process = create(AnySchema, { typeUrl: processType, value: Buffer.from(spec) });
    added = true;
    const streams = { stdout: stdoutPath, stderr: stderrPath };
    await shim.task.call(
      Task.method.exec,
      { id, execId, ...streams, spec: process },
      { signal: operation.signal },
    );
    const exitCode = await runToEnd(deps, target, execId, operation);
    await operation.enter("drain-output");
    for (const reader of readers) reader.letEnd();
    await within(Promise.all([stdout?.ended, stderr?.ended]), drainMs);
    return {
      stdout: stdout?.bytes() ?? new Uint8Array(),
      stderr: stderr?.bytes() ?? new Uint8Array(),
      exitCode,
    };
  } finally {
    for (const reader of readers) reader.close();
    removeFifos(paths);
    // The answer does not wait for this: the shim waits for whoever holds the output still.
    if (added) {
      shim.task.call(Task.method.delete, { id, execId }).catch((error: unknown) => {
        operation.log.debug(`forget command ${execId}: ${messageOf(error)}`);
      });
    }
  }
}

/** Starts the command that was added and waits for its end; kills it when the operation is aborted. */
async function runToEnd(
  deps: Deps,
  target: Target,
  execId: string,
  operation: Operation,
): Promise<number> {
  const { id, shim } = target;
  const starting = shim.task.call(Task.method.start, { id, execId });
  const ended = new AbortController();
  let exit: Promise<{ readonly exitStatus: number }> | undefined;
  try {
    await beforeAbort(starting, operation.signal);
    exit = shim.task.wait(Task.method.wait, { id, execId }, ended.signal);
    exit.catch(() => undefined);
    await operation.enter("wait-for-end");
    return (await beforeAbort(exit, operation.signal)).exitStatus;
  } catch (error) {
    if (operation.signal.aborted) {
      await operation.undoing("kill-command");
      await kill(deps, target, execId, starting);
      if (exit !== undefined) await within(exit, killMs);
    }
    throw error;
  } finally {
    ended.abort();
  }
}

/** Ends the command with what it started, as far as it can be told from the rest of the container. */
async function kill(
  { cgroups }: Deps,
  { id, cgroupPath, shim }: Target,
  execId: string,
  starting: Promise<{ readonly pid: number }>,
): Promise<void> {
  if (!(await within(starting, killMs))) return;
  const { pid } = await starting;
  if (pid > 0) {
    const candidates = await cgroupProcs(cgroups, cgroupPath);
    // Another container's process may have the pid of one that has ended.
    if (candidates.includes(pid)) killProcessTree(pid, { candidates });
  }
  const asked = shim.task.call(
    Task.method.kill,
    { id, execId, signal: SIGKILL },
    { timeoutMs: killMs },
  );
  await within(asked, killMs);
}

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
class Output {
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #room = maxOutputBytes;

  constructor(stream: Readable) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.ended = promise;
    stream.on("close", () => resolve(undefined));
    stream.on("data", (chunk: Buffer) => {
      const kept = chunk.subarray(0, this.#room);
      this.#room -= kept.length;
      if (kept.length > 0) this.#chunks.push(kept);
    });
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}
