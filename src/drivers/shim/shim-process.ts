import { lstat, unlink } from "node:fs/promises";

import { RuntimeError } from "../../base/errors.ts";
import type { ProcessIdentity } from "../../core/sandbox/index.ts";
import { Task } from "../../gen/containerd/task/v3/task_pb.ts";
import {
  errnoCode,
  type FoundProcess,
  findByCommandLine,
  killProcessTree,
  type ProcessRef,
  processStartTime,
} from "../../linux/index.ts";
import type { TaskClient } from "./task-client.ts";
import { within } from "./within.ts";

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
 * Kills the shim of a pod; true when it is gone. What it has started goes with it where its command
 * line bears the pod's id: of any other process only the pid is known, by a shim's word.
 */
export async function killShim(shim: ProcessRef | undefined, id: string): Promise<boolean> {
  if (shim === undefined || (await within(shim.exited, 0))) return true;
  const isOwn = (await processesOf(id)).some(({ pid }) => pid === shim.pid);
  if (isOwn && !(await within(shim.exited, 0))) killProcessTree(shim.pid);
  else shim.kill(SIGKILL);
  return within(shim.exited, killedMs);
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
