/** What a daemon holds while the same thing is done again and again, and what each time adds to it. */
import type { DaemonMemory } from "./daemon-memory.ts";
import { descriptorNames } from "./snapshot/processes.ts";

/** What the daemon holds after so many times, at rest. */
export interface Look {
  readonly times: number;
  /** Bytes. */
  readonly heap: number;
  /** Bytes. */
  readonly resident: number;
  readonly fds: number;
}

export async function lookAt(pid: number, memory: DaemonMemory, times: number): Promise<Look> {
  const fds = countDescriptors(pid);
  return { times, ...(await memory.use()), fds };
}

/** The descriptors of a daemon but for those of its database: the first checkpoint opens some, and keeps them. */
export function countDescriptors(pid: number): number {
  return descriptorNames(pid).filter((name) => !/\/davit\.db(-wal)?$/.test(name)).length;
}

/** What one time adds, by the line that fits the later half of these looks best (least squares). */
export function growth(looks: readonly Look[]): Omit<Look, "times"> {
  const later = looks.slice(Math.floor(looks.length / 2));
  return {
    heap: slope(later, "heap"),
    resident: slope(later, "resident"),
    fds: slope(later, "fds"),
  };
}

function slope(looks: readonly Look[], of: "heap" | "resident" | "fds"): number {
  const meanX = looks.reduce((sum, { times }) => sum + times, 0) / looks.length;
  const meanY = looks.reduce((sum, look) => sum + look[of], 0) / looks.length;
  const xy = looks.reduce((sum, look) => sum + (look.times - meanX) * (look[of] - meanY), 0);
  const xx = looks.reduce((sum, { times }) => sum + (times - meanX) ** 2, 0);
  return xy / xx;
}
