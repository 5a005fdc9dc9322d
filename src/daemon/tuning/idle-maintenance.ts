import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { releaseFreeMemory, releaseMemory } from "../../linux/process/index.ts";
import type { Tuning } from "./tuning.ts";
import { MemoryTrimmer } from "./memory-trimmer.ts";

/** The code that a start compiled. Either function is called once, after the start. */
export interface CompiledCode {
  /** Keeps it for the next start; undefined where it is kept already. */
  readonly keep: (() => Promise<void>) | undefined;
  /** Removes what earlier starts kept. */
  readonly discard: () => Promise<void>;
}

/** What an {@link IdleMaintenance} needs to know. */
export interface IdleMaintenanceParts {
  readonly log: Logger;
  /** Whether a call is running. */
  readonly isBusy: () => boolean;
  readonly tuning: Pick<Tuning, "keepsCompiledCode" | "trimsMemory">;
  readonly compiledCode: CompiledCode | undefined;
}

// This long after the daemon is ready the start is over, and memory that only it needed is given back.
const settleMs = 1_000;

/** Work for the time when the daemon is idle. Its failures are logged and change nothing else. */
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
    const { log, compiledCode, tuning } = this.#parts;
    try {
      // Before the collection, which drops compiled code that ran only once.
      await (tuning.keepsCompiledCode ? compiledCode?.keep?.() : compiledCode?.discard());
    } catch (error) {
      log.debug(`failed to keep compiled code for the next start: ${messageOf(error)}`);
    }
    if (!tuning.trimsMemory) return;
    this.#try(releaseMemory);
    this.#isSettled = true;
  }

  #try(release: () => void): void {
    try {
      release();
    } catch (error) {
      this.#parts.log.warn(`failed to give back memory: ${messageOf(error)}`);
    }
  }
}

/** The share of processor time that the process used since the last call; over 1 with several threads. */
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
