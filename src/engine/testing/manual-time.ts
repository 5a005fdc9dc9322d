import { syncBuiltinESMExports } from "node:module";
import type { TestContext } from "node:test";
import type { Clock } from "../../base/time.ts";

const steps = 40;

/**
 * The time of one test: a clock and all timers, which move only by {@link advance}. It stands in for
 * setTimeout(), for the promise of node:timers/promises, and for AbortSignal.timeout().
 */
export class ManualTime implements Clock {
  readonly #t: TestContext;
  #nowMs = 1_700_000_000_000;
  #calls = 0n;

  constructor(t: TestContext) {
    this.#t = t;
    t.mock.timers.enable({ apis: ["setTimeout"] });
    // So that `import { setTimeout } from "node:timers/promises"` sees it, too.
    syncBuiltinESMExports();
    t.mock.method(AbortSignal, "timeout", (ms: number) => {
      const timeout = new AbortController();
      setTimeout(() => {
        timeout.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
      }, ms);
      return timeout.signal;
    });
    t.after(() => {
      t.mock.timers.reset();
      syncBuiltinESMExports();
    });
  }

  nowMs(): number {
    return this.#nowMs;
  }

  nowNs(): bigint {
    this.#calls++;
    return BigInt(this.#nowMs) * 1_000_000n + this.#calls;
  }

  /** Lets `ms` pass, in steps: what a timer sets off may set another one. */
  async advance(ms: number): Promise<void> {
    await settle();
    let left = ms;
    for (let step = steps; step > 0; step--) {
      const part = Math.ceil(left / step);
      left -= part;
      this.#nowMs += part;
      this.#t.mock.timers.tick(part);
      await settle();
    }
  }
}

/** Waits until everything that needs no timer has happened. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await new Promise((next) => setImmediate(next));
}
