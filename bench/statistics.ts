/** The statistics of repeated measurements. */

/** The statistics of the samples of a row. */
export interface Summary {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
}

/** The value that `share` (0 to 1) of the samples do not exceed (nearest rank); NaN for none. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/** Median and p99; with fewer than 100 samples p99 is the largest. */
export function summarize(samples: readonly number[]): Summary {
  return {
    count: samples.length,
    p50: percentile(samples, 0.5),
    p99: percentile(samples, 0.99),
  };
}

/** How long `work` takes, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}
