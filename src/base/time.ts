/** The wall clock. It is a parameter wherever code depends on the time, so that tests can set it. */
export interface Clock {
  /** Nanoseconds since 1970, as the CRI writes times. Never returns the same value twice in one process. */
  nowNs(): bigint;
  /** Milliseconds since 1970. */
  nowMs(): number;
}

/** The longest delay that a timer takes; a longer one would fire at once (Node, timers). */
export const maxTimerMs = 2 ** 31 - 1;

let last = 0n;

/** The machine's clock. */
export const systemClock: Clock = {
  nowNs: () => {
    // Date.now() follows the machine's clock when that is set, performance.now() does not. Date.now() has
    // only milliseconds, and objects that are created within one millisecond must still sort by their creation.
    const now = BigInt(Date.now()) * 1_000_000n;
    last = now > last ? now : last + 1n;
    return last;
  },
  nowMs: () => Date.now(),
};
