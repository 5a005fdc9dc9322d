import { lstat, unlink } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../../base/errors.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import {
  environmentOf,
  type FoundProcess,
  findByCommandLine,
  findByEnvironment,
  killProcessTree,
  openProcess,
  type ProcessRef,
  processStartTime,
  SIGKILL,
} from "../../../linux/process/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { markName } from "./shim-binary.ts";
import type { TaskClient } from "./task-client.ts";
import { within } from "../../../base/wait.ts";

/** How long the kernel may take to end killed processes. */
const killedMs = 2_000;

/**
 * The shim's own process; undefined if the shim does not report it. Rejects if the shim does not answer within
 * `timeoutMs`.
 */
export async function askForProcess(
  task: TaskClient,
  id: string,
  timeoutMs: number,
): Promise<ProcessIdentity | undefined> {
  let pid: number;
  try {
    pid = (await task.call(Task.method.connect, { id }, { timeoutMs })).shimPid;
  } catch (error) {
    // Any other error is an answer, so the shim runs.
    if (!(error instanceof RuntimeError)) throw error;
    if (error.kind === "unavailable" || error.kind === "deadline-exceeded") throw error;
    return undefined;
  }
  // A shim in a PID namespace of its own reports its pid there. Neither PID 1 nor davit must be killed.
  const startTime = pid > 1 && pid !== process.pid ? processStartTime(pid) : undefined;
  return startTime === undefined ? undefined : { pid, startTime: String(startTime) };
}

/** The process of a shim that has not reported it, by the `-id` flag of containerd's shims. */
export async function findShimProcess(id: string): Promise<ProcessIdentity | undefined> {
  const [found] = await processesOf(id);
  return found === undefined ? undefined : { pid: found.pid, startTime: found.startTime };
}

function processesOf(id: string): Promise<readonly FoundProcess[]> {
  return findByCommandLine((args) => {
    const at = args.indexOf("-id");
    return at > 0 && args[at + 1] === id;
  });
}

/**
 * Kills the shim of a pod; true when it has ended. If its environment or its command line contain the pod's id, it is
 * a shim of ours, and all processes that it has started are killed, too. Of any other process only the pid is
 * known, as a shim reported it.
 */
export async function killShim(shim: ProcessRef | undefined, id: string): Promise<boolean> {
  if (shim === undefined || (await within(shim.exited, 0))) return true;
  const mark = await environmentOf(shim.pid, markName);
  const isMarked = mark?.startsWith(`${id}.`) ?? false;
  const isOwn = isMarked || (await processesOf(id)).some(({ pid }) => pid === shim.pid);
  if (isOwn && !(await within(shim.exited, 0))) killProcessTree(shim.pid);
  else shim.kill(SIGKILL);
  const isGone = await within(shim.exited, killedMs);
  // Only those with its own mark: the pod may have another shim by now.
  if (isMarked) await killMarked((value) => value === mark);
  return isGone;
}

/** Kills all processes that shims of the pod have left; returns the pids of those that do not die. */
export function killLeftovers(id: string): Promise<readonly number[]> {
  return killMarked((mark) => mark.startsWith(`${id}.`));
}

/** Repeats until none is left, as a process that one of them was just starting may have been missed. */
async function killMarked(matches: (mark: string) => boolean): Promise<readonly number[]> {
  const deadline = performance.now() + killedMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    const found = await findByEnvironment(markName, matches);
    if (found.length === 0) return [];
    if (waitMs > 1 && performance.now() > deadline) return found.map(({ pid }) => pid);
    // A process that is about to end still exists, but has no environment any more.
    await Promise.all(found.map((each) => killAndWait(each, deadline)));
    await delay(waitMs);
  }
}

async function killAndWait({ pid, startTime }: ProcessIdentity, deadlineMs: number): Promise<void> {
  using process = openProcess(pid, BigInt(startTime));
  if (process === undefined) return;
  killProcessTree(pid);
  await within(process.exited, Math.max(0, deadlineMs - performance.now()));
}

/** Removes the socket that a killed shim has left. */
export async function removeSocket(path: string): Promise<void> {
  if (path.startsWith("\0")) return;
  try {
    if ((await lstat(path)).isSocket()) await unlink(path);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
}
