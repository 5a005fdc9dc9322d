import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { releaseFreeMemory, releaseMemory } from "../../linux/process/index.ts";
import { MemoryTrimmer } from "./memory-trimmer.ts";

/** What a {@link IdleMaintenance} needs to know. */
export interface IdleMaintenanceParts {
  readonly log: Logger;
  /** Whether a client waits for an answer now. */
  readonly isBusy: () => boolean;
  /** Called once, when the start is over. */
  readonly atRest: (() => Promise<void>) | undefined;
}

// After this the start is over, and what only it needed is given back.
const settleMs = 1_000;

/** What the daemon does while it has nothing to do. None of it is a reason to end when it fails. */
export class IdleMaintenance implements Disposable {
  readonly #parts: IdleMaintenanceParts;
  #settling: NodeJS.Timeout | undefined;
  readonly #memory: MemoryTrimmer;
  #isSettled = false;

  constructor(parts: IdleMaintenanceParts) {
    this.#parts = parts;
    this.#memory = new MemoryTrimmer({
      residentBytes: () => process.memoryUsage.rss(),
      utilization: processorShare(),
      isBusy: parts.isBusy,
      release: () => {
        this.#try(releaseFreeMemory);
      },
      nowMs: uptimeMs,
    });
  }

  /** The daemon is ready. */
  begin(): void {
    this.#settling = setTimeout(() => {
      void this.#settle();
    }, settleMs).unref();
  }

  /** A call has ended. */
  worked(): void {
    if (this.#isSettled) this.#memory.worked();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#settling);
    this.#memory[Symbol.dispose]();
  }

  async #settle(): Promise<void> {
    const { log, atRest } = this.#parts;
    try {
      // Before the collection, which drops compiled code that was needed once.
      await atRest?.();
    } catch (error) {
      log.debug(`make the next start quicker: ${messageOf(error)}`);
    }
    this.#try(releaseMemory);
    this.#isSettled = true;
  }

  #try(release: () => void): void {
    try {
      release();
    } catch (error) {
      this.#parts.log.warn(`give back memory: ${messageOf(error)}`);
    }
  }
}

/** Tells the share of the time in which the process computed since it was asked last; over 1 with several threads. */
function processorShare(): () => number {
  let last = { cpu: process.cpuUsage(), atMs: uptimeMs() };
  return () => {
    const { user, system } = process.cpuUsage(last.cpu);
    const ms = uptimeMs() - last.atMs;
    last = { cpu: process.cpuUsage(), atMs: uptimeMs() };
    return (user + system) / 1000 / Math.max(ms, 1);
  };
}

function uptimeMs(): number {
  return process.uptime() * 1000;
}
