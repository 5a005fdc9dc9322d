/** Memory and descriptors of a daemon while an operation is repeated, and how much each repetition adds. */
import type { DaemonMemory } from "./daemon-memory.ts";
import { descriptorNames } from "./snapshot/processes.ts";

/** What an idle daemon holds after so many repetitions. */
export interface Sample {
  readonly times: number;
  /** Bytes. */
  readonly heap: number;
  /** Bytes. */
  readonly resident: number;
  readonly fds: number;
}

export async function takeSample(
  pid: number,
  memory: DaemonMemory,
  times: number,
): Promise<Sample> {
  const fds = countDescriptors(pid);
  return { times, ...(await memory.use()), fds };
}

/**
 * The descriptors of a daemon, except those of its database, of which the first checkpoint opens some and keeps them, and
 * the eventfd of each container with cgroup v1, which is opened a second after the start.
 */
export function countDescriptors(pid: number): number {
  const others = /\/davit\.db(-wal)?$|^anon_inode:\[eventfd\]$/;
  return descriptorNames(pid).filter((name) => !others.test(name)).length;
}

/** What one repetition adds: the slope of a line through the later half of the samples (least squares). */
export function growth(samples: readonly Sample[]): Omit<Sample, "times"> {
  const later = samples.slice(Math.floor(samples.length / 2));
  return {
    heap: slope(later, "heap"),
    resident: slope(later, "resident"),
    fds: slope(later, "fds"),
  };
}

function slope(samples: readonly Sample[], of: "heap" | "resident" | "fds"): number {
  const meanX = samples.reduce((sum, { times }) => sum + times, 0) / samples.length;
  const meanY = samples.reduce((sum, sample) => sum + sample[of], 0) / samples.length;
  const xy = samples.reduce(
    (sum, sample) => sum + (sample.times - meanX) * (sample[of] - meanY),
    0,
  );
  const xx = samples.reduce((sum, { times }) => sum + (times - meanX) ** 2, 0);
  return xy / xx;
}
