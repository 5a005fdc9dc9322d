import { existsSync } from "node:fs";

import { isKind, messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  killCgroup,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import type { TaskState } from "./task-state.ts";
import type { StateLayout } from "../process/state-layout.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { deleteTask, type ShimEnvironment } from "../process/shim-binary.ts";

const killMs = 5_000;
const endMs = 3_000;

/** What is left of a task when its process has ended, or when its start failed half-way. */
export class TaskCleanup {
  readonly #cgroups: CgroupLayout;
  readonly #places: StateLayout;
  readonly #environment: ShimEnvironment;
  readonly #shims: PodShims;
  readonly #log: Logger;

  constructor(deps: {
    readonly cgroups: CgroupLayout;
    readonly places: StateLayout;
    readonly environment: ShimEnvironment;
    readonly shims: PodShims;
    readonly log: Logger;
  }) {
    this.#cgroups = deps.cgroups;
    this.#places = deps.places;
    this.#environment = deps.environment;
    this.#shims = deps.shims;
    this.#log = deps.log;
  }

  /** After the end of the task's first process: ends the others, and has the shim forget it. */
  async clear(id: string, { cgroupPath }: TaskState, shim: PodShim): Promise<void> {
    await this.#killCgroup(cgroupPath);
    await forget(shim, id);
    await this.#removeCgroup(cgroupPath);
  }

  /** Ends everything of a task whose shim is dead. Never rejects. */
  async endWithoutShim(id: string, facts: TaskState): Promise<void> {
    try {
      await this.#killCgroup(facts.cgroupPath);
      await this.#askProgram(id, facts);
      await this.#removeCgroup(facts.cgroupPath);
    } catch (error) {
      this.#log.warn(`end container "${id}" without its shim: ${messageOf(error)}`, { error });
    }
  }

  /** Ends a task at whatever point its start or its end stopped. Idempotent. */
  async takeAway(id: string, facts: TaskState): Promise<void> {
    const shim = facts.sandboxId === "" ? undefined : await this.#shims.find(facts.sandboxId);
    await this.#killCgroup(facts.cgroupPath);
    if (shim === undefined || !(await this.#takeFrom(shim, id, facts))) {
      await this.#askProgram(id, facts);
    }
    await this.#removeCgroup(facts.cgroupPath);
  }

  /** True when the shim has nothing of the task any more. One that hangs is killed. */
  async #takeFrom(shim: PodShim, id: string, { sandboxId }: TaskState): Promise<boolean> {
    try {
      const timeoutMs = endMs;
      await ignoring("not-found", () =>
        shim.task.call(Task.method.kill, { id, signal: 9, all: true }, { timeoutMs }),
      );
      // A task that was never started has no end to wait for.
      await shim.task.call(Task.method.wait, { id }, { timeoutMs }).catch(() => undefined);
      await forget(shim, id);
      return true;
    } catch (error) {
      this.#log.warn(`take container "${id}" from its shim: ${messageOf(error)}`);
      if (isKind(error, "deadline-exceeded")) await this.#shims.kill(sandboxId, shim.process);
      return false;
    }
  }

  /** Has the shim's program take away what the shim itself cannot any more. */
  async #askProgram(id: string, { program }: TaskState): Promise<void> {
    const bundle = this.#places.task(id);
    if (program === "" || !existsSync(bundle)) return;
    try {
      await deleteTask({ program, environment: this.#environment, id, bundle });
    } catch (error) {
      // What it is about we end and remove anyway.
      this.#log.warn(`container "${id}": ${messageOf(error)}`);
    }
  }

  async #killCgroup(cgroupPath: string): Promise<void> {
    if (cgroupPath !== "") await killCgroup(this.#cgroups, cgroupPath, { timeoutMs: killMs });
  }

  async #removeCgroup(cgroupPath: string): Promise<void> {
    if (cgroupPath === "") return;
    const dirs = cgroupDirs(this.#cgroups, cgroupPath);
    if (dirs.some((dir) => existsSync(dir))) await removeCgroup(this.#cgroups, cgroupPath);
  }
}

/** The task leaves the shim with what its OCI runtime kept of it; its output is complete then. */
async function forget(shim: PodShim, id: string): Promise<void> {
  await ignoring("not-found", () => shim.task.call(Task.method.delete, { id }));
}

async function ignoring(kind: "not-found", work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isKind(error, kind)) throw error;
  }
}
