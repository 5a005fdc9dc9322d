import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { Status } from "../../../gen/containerd/v1/types/task_pb.ts";
import { type CgroupLayout, isFrozen, thawCgroup } from "../../../linux/cgroup/index.ts";
import type { PodShim } from "../process/pod-shims.ts";

/** How long a shim may take to report that a task is paused, and to resume it. Milliseconds. */
const askMs = 2_000;

/**
 * Resumes a task that is paused or whose cgroup is frozen: a frozen process does not handle a signal, and may not
 * even die. Failures are only logged.
 */
export async function resumeIfPaused(
  deps: { readonly cgroups: CgroupLayout; readonly log: Logger },
  task: {
    readonly id: string;
    readonly cgroupPath: string;
    /** Undefined where it does not answer. */
    readonly shim: PodShim | undefined;
  },
): Promise<void> {
  const { id, cgroupPath, shim } = task;
  const { cgroups, log } = deps;
  const isPaused = async (): Promise<boolean | undefined> =>
    cgroupPath === "" ? undefined : isFrozen(cgroups, cgroupPath);
  try {
    // Undefined: its cgroup is not on this host, and only its shim knows.
    if ((await isPaused()) === false) return;
    if (shim !== undefined) await resumeAtShim(shim, id);
  } catch (error) {
    log.debug(`failed to resume container "${id}" by its shim: ${messageOf(error)}`);
  }
  try {
    // A shim does not resume a task that was frozen without it.
    if ((await isPaused()) === true) await thawCgroup(cgroups, cgroupPath);
  } catch (error) {
    log.warn(`failed to thaw cgroup of container "${id}": ${messageOf(error)}`, { error });
  }
}

async function resumeAtShim(shim: PodShim, id: string): Promise<void> {
  const { status } = await shim.task.call(Task.method.state, { id }, { timeoutMs: askMs });
  if (status !== Status.PAUSED && status !== Status.PAUSING) return;
  await shim.task.call(Task.method.resume, { id }, { timeoutMs: askMs });
}
