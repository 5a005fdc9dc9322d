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
import { SIGKILL } from "../../../linux/process/index.ts";
import { isRestored, unmountRestore } from "./restore.ts";
import type { TaskState } from "./task-state.ts";
import type { StateLayout } from "../process/state-layout.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { deleteTask, type ShimEnvironment } from "../process/shim-binary.ts";

const killMs = 5_000;
const endMs = 3_000;

/** Removes a task whose process has ended or whose start failed half-way. */
export class TaskCleanup {
  readonly #cgroups: CgroupLayout;
  readonly #paths: StateLayout;
  readonly #environment: ShimEnvironment;
  readonly #shims: PodShims;
  readonly #log: Logger;
  readonly #endCriu: (work: string, log: Logger) => Promise<void>;

  constructor(deps: {
    readonly cgroups: CgroupLayout;
    readonly paths: StateLayout;
    readonly environment: ShimEnvironment;
    readonly shims: PodShims;
    readonly log: Logger;
    readonly endCriu: (work: string, log: Logger) => Promise<void>;
  }) {
    this.#cgroups = deps.cgroups;
    this.#paths = deps.paths;
    this.#environment = deps.environment;
    this.#shims = deps.shims;
    this.#log = deps.log;
    this.#endCriu = deps.endCriu;
  }

  /** After the end of the task's first process: ends the others, and has the shim delete the task. */
  async afterExit(id: string, { cgroupPath }: TaskState, shim: PodShim): Promise<void> {
    await this.#killCgroup(cgroupPath);
    await deleteAtShim(shim, id);
    await this.#removeCgroup(cgroupPath);
  }

  /** Ends all processes of a task whose shim is dead. Never rejects. */
  async endWithoutShim(id: string, state: TaskState): Promise<void> {
    try {
      await this.#killCgroup(state.cgroupPath);
      await this.#runDelete(id, state);
      await this.#removeCgroup(state.cgroupPath);
    } catch (error) {
      this.#log.warn(`failed to end container "${id}" without its shim: ${messageOf(error)}`, {
        error,
      });
    }
  }

  /** Removes a task at any point of its start or its end. Idempotent. */
  async destroy(id: string, state: TaskState): Promise<void> {
    const shim = state.sandboxId === "" ? undefined : await this.#shims.find(state.sandboxId);
    // The shim answers nothing else about a task that it restores.
    if (isRestored(this.#paths, id)) {
      await this.#endCriu(this.#paths.work(id), this.#log);
      await unmountRestore(this.#paths, id);
    }
    await this.#killCgroup(state.cgroupPath);
    if (shim === undefined || !(await this.#destroyAtShim(shim, id, state))) {
      await this.#runDelete(id, state);
    }
    await this.#removeCgroup(state.cgroupPath);
  }

  /** True when the shim has deleted the task. A shim that hangs is killed. */
  async #destroyAtShim(shim: PodShim, id: string, { sandboxId }: TaskState): Promise<boolean> {
    try {
      const timeoutMs = endMs;
      await ignoringNotFound(() =>
        shim.task.call(Task.method.kill, { id, signal: SIGKILL, all: true }, { timeoutMs }),
      );
      // A task that was never started has no exit to wait for.
      await shim.task.call(Task.method.wait, { id }, { timeoutMs }).catch(() => undefined);
      await deleteAtShim(shim, id);
      return true;
    } catch (error) {
      this.#log.warn(`failed to remove container "${id}" at its shim: ${messageOf(error)}`);
      if (isKind(error, "deadline-exceeded")) await this.#shims.kill(sandboxId, shim.process);
      return false;
    }
  }

  /** Runs `delete` of the shim's program, which removes what the dead shim has left. */
  async #runDelete(id: string, { program }: TaskState): Promise<void> {
    const bundle = this.#paths.task(id);
    if (program === "" || !existsSync(bundle)) return;
    try {
      await deleteTask({ program, environment: this.#environment, id, bundle });
    } catch (error) {
      // Its processes are killed and its cgroup is removed anyway.
      this.#log.warn(`failed to delete container "${id}": ${messageOf(error)}`);
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

/** Has the shim delete the task and its OCI runtime's state. The output is complete after that. */
async function deleteAtShim(shim: PodShim, id: string): Promise<void> {
  await ignoringNotFound(() => shim.task.call(Task.method.delete, { id }));
}

async function ignoringNotFound(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
  }
}
