import { performance } from "node:perf_hooks";

/**
 * Shares the event loop between bursts of calls and all other work. Calls that arrive close together
 * run for `budgetMs` in one turn of the loop. The others start in a later turn, in the order of arrival,
 * after the loop has handled its sockets, timers and finished work. A single call starts at once.
 */
export class CallScheduler {
  readonly #budgetMs: number;
  readonly #waiting: (() => void)[] = [];
  #turnStartMs = 0;
  #lastEndMs = Number.NEGATIVE_INFINITY;

  constructor(budgetMs: number) {
    this.#budgetMs = budgetMs;
  }

  /** The number of calls that start in a later turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Calls `work`, now or in a later turn of the event loop. It must not throw. */
  schedule(work: () => void): void {
    if (this.#waiting.length > 0) {
      this.#waiting.push(work);
      return;
    }
    const now = performance.now();
    // The end of a turn is not detected by a timer or an immediate: that costs too much for many small calls.
    if (now - this.#lastEndMs > this.#budgetMs) this.#turnStartMs = now;
    if (now - this.#turnStartMs > this.#budgetMs) {
      this.#waiting.push(work);
      setImmediate(this.#runTurn);
      return;
    }
    work();
    this.#lastEndMs = performance.now();
  }

  readonly #runTurn = (): void => {
    this.#turnStartMs = performance.now();
    do {
      this.#waiting.shift()?.();
      this.#lastEndMs = performance.now();
    } while (this.#waiting.length > 0 && this.#lastEndMs - this.#turnStartMs <= this.#budgetMs);
    if (this.#waiting.length > 0) setImmediate(this.#runTurn);
  };
}
