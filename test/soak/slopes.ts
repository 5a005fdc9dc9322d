/** Whether something grows: slopes of samples that several daemons, one after the other, gave. */

/** What an idle node has. All values are numbers, of which those of a daemon begin again with each daemon. */
export interface SoakSample {
  /** The daemon: 0 for the first. */
  readonly life: number;
  /** Pods since the beginning. */
  readonly pods: number;
  readonly values: Readonly<Record<string, number>>;
}

/** The slope of one value. */
export interface Slope {
  readonly name: string;
  /** How much a thousand pods add. */
  readonly per1000: number;
  /** The standard error of that; Infinity if there are too few samples to say. */
  readonly error: number;
}

/**
 * The slope of a value over pods, by least squares. With `ofDaemon`, each daemon has a level of its own and only growth
 * within a life counts; else it is one line through all samples.
 */
export function slopeOf(samples: readonly SoakSample[], name: string, ofDaemon: boolean): Slope {
  const groups = ofDaemon ? [...Map.groupBy(samples, ({ life }) => life).values()] : [samples];
  let [xx, xy, count, lines] = [0, 0, 0, 0];
  const centred: (readonly [x: number, y: number])[] = [];
  for (const group of groups.filter(({ length }) => length > 1)) {
    const mean = (of: (sample: SoakSample) => number): number =>
      group.reduce((sum, sample) => sum + of(sample), 0) / group.length;
    const valueOf = ({ values }: SoakSample): number => values[name] ?? 0;
    const [meanX, meanY] = [mean(({ pods }) => pods), mean(valueOf)];
    for (const sample of group) {
      const [x, y] = [sample.pods - meanX, valueOf(sample) - meanY];
      centred.push([x, y]);
      xx += x * x;
      xy += x * y;
    }
    count += group.length;
    lines += 1;
  }
  if (xx === 0) return { name, per1000: 0, error: Infinity };
  const slope = xy / xx;
  const freedom = count - lines - 1;
  const rest = centred.reduce((sum, [x, y]) => sum + (y - slope * x) ** 2, 0);
  const error = freedom < 1 ? Infinity : Math.sqrt(rest / freedom / xx);
  return { name, per1000: slope * 1000, error: error * 1000 };
}

/** Whether a value grows by more than the limit for a thousand pods, beyond twice the standard error. */
export function grows({ per1000, error }: Slope, limitPer1000: number): boolean {
  return Number.isFinite(error) && per1000 - 2 * error > limitPer1000;
}
