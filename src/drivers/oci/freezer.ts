import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { within } from "../../base/wait.ts";
import type { ContainerFreezer } from "../../core/container/index.ts";
import {
  type CgroupLayout,
  freezeCgroup,
  isFrozen,
  reclaimMemory,
  thawCgroup,
} from "../../linux/cgroup/index.ts";
import type { TrackedContainer } from "./tracked-container.ts";

/**
 * Pauses containers by the freezer of their cgroup, without a process: crun and runc write the same file, so they
 * report the container as paused.
 */
export class CgroupFreezer implements ContainerFreezer {
  readonly #cgroups: CgroupLayout;
  readonly #find: (id: string) => TrackedContainer | undefined;

  /** `find` returns containers that run, and perhaps such that have ended. */
  constructor(cgroups: CgroupLayout, find: (id: string) => TrackedContainer | undefined) {
    this.#cgroups = cgroups;
    this.#find = find;
  }

  async pause(id: string, signal: AbortSignal): Promise<void> {
    const container = this.#find(id);
    const cgroup = container?.state.cgroupPath;
    const doing = `pause container "${id}"`;
    if (container === undefined || cgroup === undefined || (await within(container.ended, 0))) {
      throw new RuntimeError("failed-precondition", `${doing}: it is not running`);
    }
    try {
      if (!(await freezeCgroup(this.#cgroups, cgroup, { signal }))) {
        throw new RuntimeError("failed-precondition", `its cgroup "${cgroup}" does not exist`);
      }
    } catch (error) {
      if (signal.aborted) throw error;
      throw wrap(doing, error);
    }
    // What is left of a container that has ended must be able to end.
    if (!(await within(container.ended, 0))) return;
    await thawCgroup(this.#cgroups, cgroup);
    throw new RuntimeError("failed-precondition", `${doing}: it has ended meanwhile`);
  }

  async resume(id: string): Promise<void> {
    const cgroup = this.#find(id)?.state.cgroupPath;
    if (cgroup !== undefined) await thawCgroup(this.#cgroups, cgroup);
  }

  async isPaused(id: string): Promise<boolean> {
    const cgroup = this.#find(id)?.state.cgroupPath;
    return cgroup !== undefined && (await isFrozen(this.#cgroups, cgroup)) === true;
  }

  async reclaimMemory(id: string, signal: AbortSignal): Promise<bigint> {
    const cgroup = this.#find(id)?.state.cgroupPath;
    return cgroup === undefined ? 0n : reclaimMemory(this.#cgroups, cgroup, signal);
  }
}

/** Thaws the cgroup of a container if it is frozen: a frozen process does not receive a signal. Failures are logged. */
export async function resumeIfFrozen(
  { cgroups, log }: { readonly cgroups: CgroupLayout; readonly log: Logger },
  id: string,
  cgroupPath: string,
): Promise<void> {
  try {
    if ((await isFrozen(cgroups, cgroupPath)) === true) await thawCgroup(cgroups, cgroupPath);
  } catch (error) {
    log.warn(`failed to thaw cgroup of container "${id}": ${messageOf(error)}`, { error });
  }
}
