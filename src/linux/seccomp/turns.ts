/**
 * Turns that filters share: each may take some, and all together no more than others, so that many containers do not
 * take the event loop for themselves. An interval begins with the first turn after the one before has ended.
 */
export class Turns {
  readonly #most: number;
  readonly #intervalMs: number;
  #taken = 0;
  #endMs = Number.NEGATIVE_INFINITY;

  constructor(most: number, intervalMs: number) {
    this.#most = most;
    this.#intervalMs = intervalMs;
  }

  /** Takes a turn. False if it was the last one of its interval, or if none was left. */
  take(nowMs: number): boolean {
    if (nowMs >= this.#endMs) {
      this.#endMs = nowMs + this.#intervalMs;
      this.#taken = 0;
    }
    this.#taken += 1;
    return this.#taken < this.#most;
  }
}
