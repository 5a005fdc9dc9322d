import { Semaphore } from "../../base/semaphore.ts";
import { beforeAbort, valueWithin } from "../../base/wait.ts";

/** Times of a SyncGate, in milliseconds; for tests. */
export interface GateTimes {
  /** How long the first attempt waits for a moment without verbs; doubled with each one, up to `maxOpenMs`. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** How long new verbs wait for those that run, in each attempt. */
  readonly shutMs: number;
}

const usualTimes: GateTimes = { openMs: 1_000, maxOpenMs: 60_000, shutMs: 3_000 };

/**
 * Keeps verbs and the synchronization of plugins apart. Verbs hold the gate, many at a time. A synchronization has it
 * alone.
 *
 * Verbs come first: a plugin waits for a moment without verbs. Where there is none, new verbs wait a few seconds
 * for those that run. If a verb takes longer, all are let in again and the plugin tries later, so that one that hangs
 * does not stop the node.
 */
export class SyncGate {
  readonly #times: GateTimes;
  readonly #turns = new Semaphore(1);
  #holders = 0;
  /** Not undefined while new verbs wait. */
  #shut: PromiseWithResolvers<undefined> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(times: GateTimes = usualTimes) {
    this.#times = times;
  }

  /** Waits while a plugin is synchronized. Rejects with the signal's reason when it is aborted. */
  async hold(signal: AbortSignal): Promise<Disposable> {
    while (this.#shut !== undefined) await beforeAbort(this.#shut.promise, signal);
    this.#holders += 1;
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#holders -= 1;
        if (this.#holders === 0) this.#onIdle?.();
      },
    };
  }

  /** Runs `work` while no verb holds the gate. Rejects with the signal's reason when it is aborted before. */
  async alone<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    using _turn = await this.#turns.acquire(signal);
    let { openMs } = this.#times;
    while (!(await this.#shutWithin(openMs, signal))) {
      signal.throwIfAborted();
      openMs = Math.min(2 * openMs, this.#times.maxOpenMs);
    }
    try {
      return await work();
    } finally {
      this.#open();
    }
  }

  /** True when the gate is shut and no verb holds it. */
  async #shutWithin(openMs: number, signal: AbortSignal): Promise<boolean> {
    if (this.#holders > 0 && !(await this.#idleWithin(openMs, signal))) {
      signal.throwIfAborted();
      this.#shut ??= Promise.withResolvers<undefined>();
      if (!(await this.#idleWithin(this.#times.shutMs, signal))) {
        this.#open();
        return false;
      }
    }
    this.#shut ??= Promise.withResolvers<undefined>();
    return true;
  }

  /** Waits for a moment without verbs, and shuts the gate in it. */
  async #idleWithin(ms: number, signal: AbortSignal): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let isIdle = false;
    this.#onIdle = () => {
      this.#shut ??= Promise.withResolvers<undefined>();
      this.#onIdle = undefined;
      isIdle = true;
      resolve(true);
    };
    await valueWithin(promise, ms, signal);
    this.#onIdle = undefined;
    return isIdle;
  }

  #open(): void {
    const shut = this.#shut;
    this.#shut = undefined;
    shut?.resolve(undefined);
  }
}
