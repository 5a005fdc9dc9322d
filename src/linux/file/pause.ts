/** Between two looks at a file: the first after its last line, and the longest. Each takes three jobs of the thread pool. */
const [firstPollMs, longestPollMs] = [50, 250];
/** A file that changes all the time is looked at no more often: many lines are then read and sent at once. */
const gatherMs = 20;

/** Waits between looks at a file: until it changes, until `ends` is aborted, or for a while. */
export class Pause {
  readonly #ends: AbortSignal;
  #ms = firstPollMs;
  #hasChanged = false;
  #wake = (): void => undefined;
  /** When the last wait ended, as performance.now(). */
  #endedAt = 0;

  constructor(ends: AbortSignal) {
    this.#ends = ends;
  }

  async wait(): Promise<void> {
    if (!this.#hasChanged) await this.#sleep(this.#ms);
    const sinceMs = performance.now() - this.#endedAt;
    if (this.#hasChanged && sinceMs < gatherMs) await this.#sleep(gatherMs - sinceMs, "whole");
    this.#hasChanged = false;
    this.#endedAt = performance.now();
    this.#ms = Math.min(longestPollMs, 2 * this.#ms);
  }

  /** Something was there: look soon again. */
  reset(): void {
    this.#ms = firstPollMs;
  }

  /** The file has changed: the wait ends, or the next one does. False if the last change has not been read yet. */
  changed(): boolean {
    const isFirst = !this.#hasChanged;
    this.#hasChanged = true;
    this.#wake();
    return isFirst;
  }

  /** Sleeps until a change, unless it is to sleep for the whole time, or until the end. */
  async #sleep(ms: number, how?: "whole"): Promise<void> {
    if (this.#ends.aborted) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const end = (): void => resolve(undefined);
    const timer = setTimeout(end, ms);
    this.#ends.addEventListener("abort", end, { once: true });
    if (how !== "whole") this.#wake = end;
    await promise;
    clearTimeout(timer);
    this.#ends.removeEventListener("abort", end);
  }
}
