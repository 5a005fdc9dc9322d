/** Samples closer than this are too imprecise: v1's counter moves in ticks of up to 10 ms. */
const shortestMs = 1000;
/** A rate over more than this is not recent. */
const longestMs = 120_000;

interface Sample {
  readonly atMs: number;
  readonly usageNs: bigint;
}

/**
 * How much processor time something takes a second, from its counter as it happens to be read: no
 * timer runs. The window is the time between two readings, 1 s at least and 2 minutes at most.
 */
export class CpuRate {
  #base: Sample | undefined;
  #nanoCores: bigint | undefined;

  /** The rate after this reading; undefined until two can be compared. */
  add(usageNs: bigint, atMs: number): bigint | undefined {
    const base = this.#base;
    const elapsedMs = base === undefined ? 0 : atMs - base.atMs;
    if (base === undefined || usageNs < base.usageNs || elapsedMs > longestMs) {
      // A counter that went back is that of a new cgroup.
      this.#nanoCores = undefined;
      this.#base = { atMs, usageNs };
    } else if (elapsedMs >= shortestMs) {
      this.#nanoCores = BigInt(Math.round((Number(usageNs - base.usageNs) * 1000) / elapsedMs));
      this.#base = { atMs, usageNs };
    }
    return this.#nanoCores;
  }
}
