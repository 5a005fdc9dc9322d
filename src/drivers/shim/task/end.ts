import { setTimeout as delay } from "node:timers/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Clock } from "../../../base/time.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { type ProcessRef, SIGKILL } from "../../../linux/process/index.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { within } from "../../../base/wait.ts";

/** How a task ended. */
export interface TaskEnd {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly unknown: boolean;
  /** The shim that still has the ended task; undefined when that shim is dead. */
  readonly shim: PodShim | undefined;
}

/** How long a shim may take to report the exit of a process that has ended. Milliseconds. */
const reportMs = 5_000;
const firstPauseMs = 100;
const longestPauseMs = 5_000;
/** The exit code of a container whose exit code is not known. */
export const unknownExitCode = 255;
const killedExitCode = 128 + SIGKILL;

/** A task to wait for. */
export interface AwaitedTask {
  readonly id: string;
  readonly sandboxId: string;
  /** Undefined after a restart of the daemon. */
  readonly shim: PodShim | undefined;
  /** The task's process as this host sees it; undefined when it had ended before, or has none here. */
  readonly process: ProcessRef | undefined;
  readonly shims: PodShims;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Ends everything of a task whose shim is dead. */
  readonly endWithoutShim: () => Promise<void>;
}

/**
 * Waits for a task's end, which its shim reports. A shim that hangs is asked again as long as it and
 * the task's process run, then it is killed. If the shim is dead, the task is ended, as its exit could not
 * be observed any more.
 */
export async function awaitTaskEnd(task: AwaitedTask): Promise<TaskEnd> {
  const { shims, sandboxId, signal } = task;
  let { shim } = task;
  let process = shim?.process;
  const processGone = (task.process?.exited ?? new Promise<never>(() => undefined)).then(() =>
    delay(reportMs, "late" as const, { ref: false }),
  );
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    signal.throwIfAborted();
    if (shim !== undefined) {
      const end = await Promise.race([waitAtShim(task, shim), processGone]);
      if (end === "late") return endOfDeadShim(task, process);
      if (end !== undefined) return end;
    }
    shim = await shims.find(sandboxId);
    if (await isLost(task, { shim, known: process, processGone })) {
      return endOfDeadShim(task, process);
    }
    process ??= shim?.process;
    await delay(pauseMs, undefined, { signal });
  }
}

/** Whether the shim that could report the task's end is gone. */
async function isLost(
  { shims, sandboxId }: AwaitedTask,
  now: {
    readonly shim: PodShim | undefined;
    readonly known: ProcessIdentity | undefined;
    readonly processGone: Promise<unknown>;
  },
): Promise<boolean> {
  const { shim, known, processGone } = now;
  // The pod may have another shim by now, which does not have this task.
  if (shim !== undefined) return known !== undefined && shim.process?.pid !== known.pid;
  return !(await shims.isAlive(sandboxId)) || (await within(processGone, 0));
}

/** Undefined when the shim ended without an answer. */
async function waitAtShim(task: AwaitedTask, shim: PodShim): Promise<TaskEnd | undefined> {
  const { id, log, clock, signal } = task;
  try {
    const { exitStatus, exitedAt } = await shim.task.wait(Task.method.wait, { id }, signal);
    const finishedAtNs =
      exitedAt === undefined || exitedAt.seconds <= 0n
        ? clock.nowNs()
        : exitedAt.seconds * 1_000_000_000n + BigInt(exitedAt.nanos);
    return { exitCode: exitStatus, finishedAtNs, unknown: false, shim };
  } catch (error) {
    if (signal.aborted) throw error;
    const kind = error instanceof RuntimeError ? error.kind : "unknown";
    log.warn(`the shim of container "${id}" did not report its exit: ${messageOf(error)}`);
    if (kind !== "not-found") return undefined;
    // An earlier daemon had the shim delete the task and died: the exit status is lost.
    return { exitCode: unknownExitCode, finishedAtNs: clock.nowNs(), unknown: true, shim };
  }
}

async function endOfDeadShim(task: AwaitedTask, shim?: ProcessIdentity): Promise<TaskEnd> {
  const { id, process, shims, sandboxId, clock, log } = task;
  const ran = process !== undefined && !(await within(process.exited, 0));
  log.warn(`the shim of container "${id}" is dead or hangs, ending the container`);
  await shims.kill(sandboxId, shim);
  await task.endWithoutShim();
  const exitCode = ran ? killedExitCode : unknownExitCode;
  return { exitCode, finishedAtNs: clock.nowNs(), unknown: !ran, shim: undefined };
}
