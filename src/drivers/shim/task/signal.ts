import { isKind, messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { resumeIfPaused } from "./pause.ts";
import type { TrackedTask } from "./tracked-task.ts";

/** How long a shim may take to forward a signal before it is sent without the shim. */
const killMs = 2_000;

/** Sends a signal to the process of a task, and resumes the task if it is paused. See ContainerRuntime.kill. */
export async function signalTask(
  deps: {
    readonly cgroups: CgroupLayout;
    readonly shims: Pick<PodShims, "get">;
    readonly log: Logger;
  },
  { id, process, state }: Pick<TrackedTask, "id" | "process" | "state">,
  signalNumber: number,
): Promise<void> {
  const { cgroupPath } = state;
  let shim: PodShim | undefined;
  try {
    shim = await deps.shims.get(state.sandboxId);
    const request = { id, signal: signalNumber };
    await shim.task.call(Task.method.kill, request, { timeoutMs: killMs });
  } catch (error) {
    if (isKind(error, "not-found")) return;
    const hangs = isKind(error, "deadline-exceeded") || isKind(error, "unavailable");
    // Only the shim can signal a process that is not on this host. If it hangs, a stop continues and kills it.
    if (process === undefined && !hangs) throw error;
    deps.log.warn(`the shim of container "${id}" did not forward a signal: ${messageOf(error)}`);
    process?.kill(signalNumber);
    if (hangs) shim = undefined;
  }
  await resumeIfPaused(deps, { id, cgroupPath, shim });
}
