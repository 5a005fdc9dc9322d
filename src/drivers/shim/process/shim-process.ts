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
} from "../../../linux/process/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { markName } from "./shim-binary.ts";
import type { TaskClient } from "./task-client.ts";
import { within } from "../../../base/wait.ts";

const killedMs = 2_000;
const SIGKILL = 9;

/**
 * The shim's own process; undefined where it does not say. Rejects for one that does not answer in
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
    // An answer, whatever it says, is one of a living shim.
    if (!(error instanceof RuntimeError)) throw error;
    if (error.kind === "unavailable" || error.kind === "deadline-exceeded") throw error;
    return undefined;
  }
  // A shim with a PID namespace of its own counts from 1 there; neither this nor that is to be killed.
  const startTime = pid > 1 && pid !== process.pid ? processStartTime(pid) : undefined;
  return startTime === undefined ? undefined : { pid, startTime: String(startTime) };
}

/** The process of a shim that never told it, by the flag with which containerd's shims are started. */
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
 * Kills the shim of a pod; true when it is gone. What it has started goes with it, wherever that is by
 * now, if it is a shim of ours by its environment or its command line, which bear the pod's id: of any
 * other process only the pid is known, by a shim's word.
 */
export async function killShim(shim: ProcessRef | undefined, id: string): Promise<boolean> {
  if (shim === undefined || (await within(shim.exited, 0))) return true;
  const mark = await environmentOf(shim.pid, markName);
  const isMarked = mark?.startsWith(`${id}.`) ?? false;
  const isOwn = isMarked || (await processesOf(id)).some(({ pid }) => pid === shim.pid);
  if (isOwn && !(await within(shim.exited, 0))) killProcessTree(shim.pid);
  else shim.kill(SIGKILL);
  const isGone = await within(shim.exited, killedMs);
  // By its own mark: the pod may have another shim by now.
  if (isMarked) await killMarked((value) => value === mark);
  return isGone;
}

/** Kills whatever any shim of the pod has left; the pids of what does not die. */
export function killLeftovers(id: string): Promise<readonly number[]> {
  return killMarked((mark) => mark.startsWith(`${id}.`));
}

/** Once more as long as there is any: what it was just starting may have been missed. */
async function killMarked(isWanted: (mark: string) => boolean): Promise<readonly number[]> {
  const deadline = performance.now() + killedMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    const found = await findByEnvironment(markName, isWanted);
    if (found.length === 0) return [];
    if (waitMs > 1 && performance.now() > deadline) return found.map(({ pid }) => pid);
    // One that is about to end has no environment any more, but is there.
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

/** A shim that was killed leaves its socket. */
export async function removeSocket(path: string): Promise<void> {
  if (path.startsWith("\0")) return;
  try {
    if ((await lstat(path)).isSocket()) await unlink(path);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
}
