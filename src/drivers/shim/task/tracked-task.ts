import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Clock } from "../../../base/time.ts";
import type { ContainerExit, UsageReader } from "../../../core/container/index.ts";
import { type CgroupLayout, oomKills } from "../../../linux/cgroup/index.ts";
import type { ProcessRef } from "../../../linux/process/index.ts";
import type { EndingContainer } from "../../../stdio/exec-session.ts";
import { lastUsage } from "../../../stdio/last-usage.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import type { TaskCleanup } from "./cleanup.ts";
import type { ContainerIo } from "./container-io.ts";
import { awaitTaskEnd, type TaskEnd, unknownExitCode } from "./end.ts";
import { readExitNote, writeExitNote } from "./exit-note.ts";
import type { TaskState } from "./task-state.ts";

interface Deps {
  readonly cgroups: CgroupLayout;
  readonly shims: PodShims;
  readonly cleanup: TaskCleanup;
  /** Reads what a container used, at its end. */
  readonly usage?: UsageReader;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborted when the daemon ends. */
  readonly signal: AbortSignal;
  /** Whether the shim has reported that the kernel killed a process of the container for lack of memory. */
  readonly isOomReported: () => boolean;
}

/** A container that runs. */
export interface RunningTask {
  readonly id: string;
  readonly state: TaskState;
  /** Undefined when its fifos are lost. */
  readonly io: ContainerIo | undefined;
  /** Undefined: ended before the container was adopted, or not a process of this host. */
  readonly process: ProcessRef | undefined;
  /** The shim that it was started with; undefined when it was adopted. */
  readonly shim: PodShim | undefined;
  /** Path of the note about its exit; see exit-note.ts. */
  readonly exitNote: string;
}

/** A container that this daemon has started or adopted: waits for its end and cleans up after it. */
export class TrackedTask implements EndingContainer {
  readonly id: string;
  readonly state: TaskState;
  readonly io: ContainerIo | undefined;
  readonly process: ProcessRef | undefined;
  /** Settles when the container is cleaned up; never rejects, and never settles when the daemon ends first. */
  readonly exit: Promise<ContainerExit>;
  readonly ended: Promise<unknown>;
  /** Set to true before all of its processes are killed on request. */
  killed = false;
  readonly #deps: Deps;
  readonly #task: RunningTask;
  #cleaned = false;

  constructor(deps: Deps, task: RunningTask) {
    const { id, state, io, process } = task;
    this.#deps = { ...deps, log: deps.log.with({ container: id }) };
    this.#task = task;
    this.id = id;
    this.state = state;
    this.io = io;
    this.process = process;
    this.exit = this.#waitForExit();
    this.ended = process?.exited ?? this.exit;
  }

  /** True when only files are left of it. */
  get cleaned(): boolean {
    return this.#cleaned;
  }

  /** Stops watching it; the container continues. */
  release(): void {
    this.io?.release();
    this.process?.close();
  }

  async #waitForExit(): Promise<ContainerExit> {
    const { shims, clock, log, signal, cleanup } = this.#deps;
    const { exitNote } = this.#task;
    const { id, state } = this;
    try {
      const end = await awaitTaskEnd({
        ...this.#task,
        sandboxId: state.sandboxId,
        clock,
        log,
        shims,
        signal,
        endWithoutShim: () => cleanup.endWithoutShim(id, state),
      });
      const exit = (await readExitNote(exitNote, log)) ?? {
        exitCode: end.exitCode,
        unknown: end.unknown,
        finishedAtNs: end.finishedAtNs,
        oomKilled: await this.#ranOutOfMemory(),
      };
      const [usage] = await Promise.all([
        lastUsage(this.#deps, state.cgroupPath),
        writeExitNote(exitNote, exit, log),
      ]);
      await this.#cleanUp(end);
      return { ...exit, usage };
    } catch (error) {
      // The daemon is ending: the next one waits for the container.
      if (signal.aborted) return new Promise<never>(() => undefined);
      log.error(`failed to read exit status of container "${id}": ${messageOf(error)}`, { error });
      return {
        exitCode: unknownExitCode,
        finishedAtNs: clock.nowNs(),
        oomKilled: false,
        unknown: true,
      };
    }
  }

  async #cleanUp(end: TaskEnd): Promise<void> {
    const { cleanup, log } = this.#deps;
    try {
      if (end.shim !== undefined) await cleanup.afterExit(this.id, this.state, end.shim);
      this.#cleaned = true;
    } catch (error) {
      log.warn(`failed to clean up after container "${this.id}": ${messageOf(error)}`, { error });
    }
    await this.io?.finish();
    this.process?.close();
  }

  async #ranOutOfMemory(): Promise<boolean> {
    const { cgroupPath } = this.state;
    if (this.#deps.isOomReported()) return true;
    if (cgroupPath === "") return false;
    return ((await oomKills(this.#deps.cgroups, cgroupPath)) ?? 0) > 0;
  }
}
