/** Random numbers from a seed, so that a failed run can be repeated. */

/** A generator of pseudo-random numbers (mulberry32: 32 bits of state). Not for secrets. */
export class Random {
  readonly #seed: number;
  #state: number;

  constructor(seed: number) {
    this.#seed = seed >>> 0;
    this.#state = this.#seed;
  }

  /** An independent generator for part `index`. */
  fork(index: number): Random {
    return new Random(Math.imul(this.#seed ^ Math.imul(index + 1, 0x9e3779b1), 0x85ebca6b));
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** True with probability `share`. */
  chance(share: number): boolean {
    return this.next() < share;
  }

  /** A whole number, both ends included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** Between two positive numbers, with equal probability for each order of magnitude. */
  spread(low: number, high: number): number {
    return Math.round(low * (high / low) ** this.next());
  }

  pick<const T>(list: readonly [T, ...T[]]): T {
    return list[this.between(0, list.length - 1)] ?? list[0];
  }
}

/** The seed in DAVIT_TEST_SEED, or else one from the clock. The caller prints it. */
export function chooseSeed(): number {
  const given = process.env["DAVIT_TEST_SEED"];
  return given === undefined ? Date.now() >>> 0 : Number(given) >>> 0;
}
