/** Reads the wall clock. A parameter wherever time decides something, so that tests own it. */
export interface Clock {
  /** Nanoseconds since 1970, as the CRI writes times. Never the same twice in one process. */
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
    // Date.now() follows the machine's clock when it is set, performance.now() does not. It has
    // milliseconds only, and objects made within one of them must still sort by their creation.
    const now = BigInt(Date.now()) * 1_000_000n;
    last = now > last ? now : last + 1n;
    return last;
  },
  nowMs: () => Date.now(),
};
