/** Between two looks at a file: the first after its last line, and the longest. Each takes three jobs of the thread pool. */
const [firstPollMs, longestPollMs] = [50, 250];

/** Waits between looks at a file: until it changes, until `ends` is aborted, or for a while. */
export class Pause {
  readonly #ends: AbortSignal;
  #ms = firstPollMs;
  #hasChanged = false;
  #wake = (): void => undefined;

  constructor(ends: AbortSignal) {
    this.#ends = ends;
  }

  async wait(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#wake = () => resolve(undefined);
    const timer = setTimeout(this.#wake, this.#ms);
    this.#ends.addEventListener("abort", this.#wake, { once: true });
    if (this.#hasChanged || this.#ends.aborted) this.#wake();
    await promise;
    clearTimeout(timer);
    this.#ends.removeEventListener("abort", this.#wake);
    this.#hasChanged = false;
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
}
