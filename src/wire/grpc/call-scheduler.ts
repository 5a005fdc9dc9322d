import { performance } from "node:perf_hooks";

/**
 * Shares the event loop between calls that come at once and everything else. What comes close together
 * has `budgetMs` in one go; what is over that begins in a later turn of the loop, in the order of arrival,
 * after the loop has looked at its sockets, timers and finished work. A call that comes alone begins at once.
 */
export class CallScheduler {
  readonly #budgetMs: number;
  readonly #waiting: (() => void)[] = [];
  #begunMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(budgetMs: number) {
    this.#budgetMs = budgetMs;
  }

  /** Calls `work`, now or in a later turn. It must not throw. */
  begin(work: () => void): void {
    if (this.#waiting.length > 0) {
      this.#waiting.push(work);
      return;
    }
    const now = performance.now();
    // No timer and no immediate marks the end of a turn: that would cost the many small calls more than it gives.
    if (now - this.#lastMs > this.#budgetMs) this.#begunMs = now;
    if (now - this.#begunMs > this.#budgetMs) {
      this.#waiting.push(work);
      setImmediate(this.#turn);
      return;
    }
    work();
    this.#lastMs = performance.now();
  }

  readonly #turn = (): void => {
    this.#begunMs = performance.now();
    do {
      this.#waiting.shift()?.();
      this.#lastMs = performance.now();
    } while (this.#waiting.length > 0 && this.#lastMs - this.#begunMs <= this.#budgetMs);
    if (this.#waiting.length > 0) setImmediate(this.#turn);
  };
}
