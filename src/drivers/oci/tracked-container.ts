import { existsSync } from "node:fs";

import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import { valueWithin } from "../../base/wait.ts";
import type { ContainerExit, UsageReader } from "../../core/container/index.ts";
import type { Child, ProcessRef } from "../../linux/process/index.ts";
import { lastUsage } from "../../stdio/last-usage.ts";
import { awaitExit, unknownExitCode, type WatchedProcess } from "./container-end.ts";
import type { ExecContainer } from "./exec/execs.ts";
import { type ContainerCleanup, verbMs } from "./recovery/cleanup.ts";
import { usesHostPids } from "./recovery/find-run.ts";
import type { RuntimeState } from "./runtime-state.ts";

interface Deps {
  readonly cleanup: ContainerCleanup;
  /** Reads what a container used, at its end. */
  readonly usage?: UsageReader;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The processes of a container. */
interface Running {
  readonly id: string;
  readonly state: RuntimeState;
  /** Undefined: ended before the container was adopted. */
  readonly process: ProcessRef | undefined;
  /** Likewise. */
  readonly monitor: ProcessRef | Child | undefined;
  /** Where the monitor writes the exit code. */
  readonly exitFile: string;
  /** The mark of a capture that ends the container. */
  readonly capturedFile: string;
  /** Completes a rotation of its log when the monitor has ended; see ContainerRuntime.completeRotation. */
  readonly completeLog: () => Promise<unknown>;
}

/** A container that this daemon has started or adopted: waits for its end and cleans up after it. */
export class TrackedContainer implements ExecContainer {
  readonly id: string;
  readonly state: RuntimeState;
  readonly process: ProcessRef | undefined;
  readonly monitor: WatchedProcess | undefined;
  readonly hostPids: boolean;
  readonly ended: Promise<unknown>;
  /** Settles when no process is left; never rejects. */
  readonly exit: Promise<ContainerExit>;
  /** Set to true before all of its processes are killed on request. */
  killed = false;
  readonly #deps: Deps;
  readonly #running: Running;
  #deleted: Promise<boolean> | undefined;

  constructor(deps: Deps, running: Running) {
    const { id, state, process, monitor } = running;
    this.#deps = { ...deps, log: deps.log.with({ container: id }) };
    this.#running = running;
    this.id = id;
    this.state = state;
    this.process = process;
    this.monitor = monitor;
    this.hostPids = process !== undefined && usesHostPids(process.pid);
    this.ended = process?.exited ?? Promise.resolve();
    this.exit = this.#waitForExit();
    void this.exit.then(() => {
      this.release();
    });
  }

  /**
   * Set when no process is left: resolves when the OCI runtime has deleted its own state, to false if that failed.
   * `exit` does not wait for it, as the deletion runs a process.
   */
  get deleted(): Promise<boolean> | undefined {
    return this.#deleted;
  }

  /** Stops watching its processes, which continue. */
  release(): void {
    const { process, monitor } = this.#running;
    process?.close();
    if (monitor !== undefined && "close" in monitor) monitor.close();
    else monitor?.unref();
  }

  /** Never rejects: every container gets an exit. */
  async #waitForExit(): Promise<ContainerExit> {
    const { cleanup, clock, log } = this.#deps;
    const { id, state } = this;
    try {
      const exit = await awaitExit({ ...this.#running, clock, log });
      const { exitCode } = exit;
      const killed = { exitCode, killed: this.killed };
      const [oomKilled, usage] = await Promise.all([
        cleanup.ranOutOfMemory(id, state, killed),
        lastUsage(this.#deps, state.cgroupPath),
        this.#completeLog(),
      ]);
      try {
        await cleanup.endProcesses(state, verbMs);
        this.#deleted = this.#delete();
      } catch (error) {
        log.warn(`failed to clean up after container "${id}": ${messageOf(error)}`, { error });
      }
      const captured = existsSync(this.#running.capturedFile);
      return { ...exit, oomKilled, usage, ...(captured && { captured }) };
    } catch (error) {
      log.error(`failed to read exit status of container "${id}": ${messageOf(error)}`, { error });
      return {
        exitCode: unknownExitCode,
        finishedAtNs: clock.nowNs(),
        oomKilled: false,
        unknown: true,
      };
    }
  }

  /** Never rejects. A disk that hangs does not delay the exit for longer. */
  async #completeLog(): Promise<void> {
    try {
      await valueWithin(this.#running.completeLog(), verbMs);
    } catch (error) {
      const { log } = this.#deps;
      log.warn(`failed to complete the log of container "${this.id}": ${messageOf(error)}`);
    }
  }

  /** Never rejects: what remains is removed with the container. */
  async #delete(): Promise<boolean> {
    const { cleanup, log } = this.#deps;
    try {
      await cleanup.deleteState(this.id, this.state, verbMs);
      return true;
    } catch (error) {
      log.warn(`failed to clean up after container "${this.id}": ${messageOf(error)}`, { error });
      return false;
    }
  }
}
