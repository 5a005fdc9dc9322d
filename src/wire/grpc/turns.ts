import { performance } from "node:perf_hooks";

/**
 * Shares the event loop between calls that come at once and everything else. What begins in one turn of the
 * loop has `budgetMs` together; what is over that begins in a later turn, in the order of arrival, after
 * the loop has looked at its sockets, timers and finished work. A call that comes alone begins at once.
 */
export class Turns {
  readonly #budgetMs: number;
  readonly #waiting: (() => void)[] = [];
  #endsAtMs = 0;
  #isOpen = false;

  constructor(budgetMs: number) {
    this.#budgetMs = budgetMs;
  }

  /** Calls `work`, now or in a later turn. It must not throw. */
  begin(work: () => void): void {
    if (this.#waiting.length > 0 || (this.#isOpen && performance.now() >= this.#endsAtMs)) {
      this.#waiting.push(work);
      return;
    }
    if (!this.#isOpen) this.#open();
    work();
  }

  #open(): void {
    this.#isOpen = true;
    this.#endsAtMs = performance.now() + this.#budgetMs;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#isOpen = false;
    if (this.#waiting.length === 0) return;
    this.#open();
    do this.#waiting.shift()?.();
    while (this.#waiting.length > 0 && performance.now() < this.#endsAtMs);
  };
}
