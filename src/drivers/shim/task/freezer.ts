import { isKind, kindOf, RuntimeError, wrap } from "../../../base/errors.ts";
import { within } from "../../../base/wait.ts";
import type { ContainerFreezer } from "../../../core/container/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { Status } from "../../../gen/containerd/v1/types/task_pb.ts";
import {
  type CgroupLayout,
  freezeCgroup,
  isFrozen,
  keepFreezing,
  reclaimMemory,
  thawCgroup,
} from "../../../linux/cgroup/index.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import type { TrackedTask } from "./tracked-task.ts";

/** How long a shim may take to pause a task: longer than an OCI runtime, which it usually runs for it. */
const pauseMs = 10_000;
/** How long a shim may take to resume a task: less than the verbs wait, which end when the cgroup is thawed without it. */
const resumeMs = 3_000;
/** How long it may take to report the state of a task. */
const askMs = 5_000;
/** The same for runc's shim before a resume: it has something to resume only if another client has paused the task. */
const runcAskMs = 500;

interface Deps {
  readonly cgroups: CgroupLayout;
  readonly shims: Pick<PodShims, "find" | "get">;
  /** Returns containers that run, and perhaps such that have ended. */
  readonly find: (id: string) => TrackedTask | undefined;
}

/**
 * Pauses containers of runc's shim by the freezer of their cgroup, as containers without a shim, and those of other shims
 * by the task API: their processes may be in a virtual machine.
 *
 * NOTE(containerd): runc's shim keeps for itself whether a task is paused, and starts no command in one that is. It
 * changes that by its OCI runtime only, which does not resume what was thawed without it. So a shim that did not answer
 * in time would refuse commands from then on; one that does not know of the pause does not.
 */
export class ShimFreezer implements ContainerFreezer {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  async pause(id: string, signal: AbortSignal): Promise<void> {
    const doing = `pause container "${id}"`;
    const task = this.#deps.find(id);
    if (task === undefined || (await within(task.ended, 0))) {
      throw new RuntimeError("failed-precondition", `${doing}: it is not running`);
    }
    try {
      if (isOfRunc(task)) await this.#freeze(task, signal);
      else await this.#pauseAtShim(task, signal);
    } catch (error) {
      await this.resume(id).catch(() => undefined);
      if (signal.aborted) throw error;
      if (await within(task.ended, 0)) {
        const text = `${doing}: it has ended meanwhile`;
        throw new RuntimeError("failed-precondition", text, { cause: error });
      }
      throw wrap(doing, error);
    }
  }

  async #freeze({ state: { cgroupPath }, ended }: TrackedTask, signal: AbortSignal): Promise<void> {
    const { cgroups } = this.#deps;
    if (!(await freezeCgroup(cgroups, cgroupPath, { signal }))) {
      const text = `its cgroup "${cgroupPath}" does not exist`;
      throw new RuntimeError("failed-precondition", text);
    }
    if (!(await within(ended, 0))) return;
    // What is left of it must be able to end.
    await thawCgroup(cgroups, cgroupPath);
    throw new RuntimeError("failed-precondition", "it has ended");
  }

  async #pauseAtShim({ id, state }: TrackedTask, signal: AbortSignal): Promise<void> {
    const shim = await this.#deps.shims.get(state.sandboxId);
    // A shim refuses to pause a task that is paused already.
    if (!isPausedStatus(await statusOf(shim, id))) {
      await shim.task.call(Task.method.pause, { id }, { timeoutMs: pauseMs, signal });
    }
    // Its runtime may not wait until all processes are frozen.
    const { cgroupPath } = state;
    if (cgroupPath !== "") await keepFreezing(this.#deps.cgroups, cgroupPath, { signal });
  }

  async resume(id: string): Promise<void> {
    const task = this.#deps.find(id);
    if (task === undefined || (await within(task.ended, 0))) return;
    const doing = `resume container "${id}"`;
    const ofRunc = isOfRunc(task);
    try {
      const shim = await this.#deps.shims.get(task.state.sandboxId);
      await resumeAtShim(shim, id, ofRunc ? runcAskMs : resumeMs);
    } catch (error) {
      const hangs = isKind(error, "deadline-exceeded") || isKind(error, "unavailable");
      const canThaw = ofRunc || (hangs && (await this.#isFrozen(task)) !== undefined);
      if (!canThaw) throw wrap(doing, error);
    }
    // A shim does not resume a task that was frozen without it, or while it captures a task.
    if ((await this.#isFrozen(task)) === true)
      await thawCgroup(this.#deps.cgroups, task.state.cgroupPath);
  }

  async isPaused(id: string): Promise<boolean> {
    const task = this.#deps.find(id);
    if (task === undefined || (await within(task.ended, 0))) return false;
    const frozen = await this.#isFrozen(task);
    if (frozen !== undefined) return frozen;
    const shim = await this.#deps.shims.find(task.state.sandboxId);
    return shim !== undefined && isPausedStatus(await statusOf(shim, id));
  }

  async reclaimMemory(id: string, signal: AbortSignal): Promise<bigint> {
    const task = this.#deps.find(id);
    if (task === undefined) return 0n;
    const { cgroups } = this.#deps;
    if ((await this.#isFrozen(task)) === undefined) {
      const text = `reclaim memory of container "${id}": its cgroup is not on this host but with its shim; pause without reclaiming memory`;
      throw new RuntimeError("failed-precondition", text);
    }
    return reclaimMemory(cgroups, task.state.cgroupPath, signal);
  }

  /** Undefined where its cgroup is not on this host. */
  async #isFrozen({ state: { cgroupPath } }: TrackedTask): Promise<boolean | undefined> {
    return cgroupPath === "" ? undefined : isFrozen(this.#deps.cgroups, cgroupPath);
  }
}

/** Whether davit pauses a task without its shim. */
function isOfRunc({ state: { ociRuntime, cgroupPath } }: TrackedTask): boolean {
  return ociRuntime !== "" && cgroupPath !== "";
}

/** Resumes a task that its shim has paused: a shim refuses to resume another one. */
async function resumeAtShim(shim: PodShim, id: string, timeoutMs: number): Promise<void> {
  if (!isPausedStatus(await statusOf(shim, id, timeoutMs))) return;
  await shim.task.call(Task.method.resume, { id }, { timeoutMs: resumeMs });
}

function isPausedStatus(status: Status | undefined): boolean {
  return status === Status.PAUSED || status === Status.PAUSING;
}

/** Undefined for a task that the shim does not have any more. */
async function statusOf(shim: PodShim, id: string, timeoutMs = askMs): Promise<Status | undefined> {
  try {
    return (await shim.task.call(Task.method.state, { id }, { timeoutMs })).status;
  } catch (error) {
    if (kindOf(error) === "not-found") return undefined;
    throw wrap(`read state of container "${id}"`, error);
  }
}
