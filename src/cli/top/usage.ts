import type { ContainerStats } from "../../gen/runtime/v1/api_pb.ts";

/** The time that a sparkline shows, and the number of its cells. */
const historyMs = 60_000;
export const sparkCells = 12;
const cellMs = historyMs / sparkCells;

/** The measured use of one container. Undefined values are not reported by the server. */
export interface Usage {
  /** The share of one CPU; undefined before the second sample. */
  readonly cpu: number | undefined;
  /** The highest share in each twelfth of the last minute, oldest first. */
  readonly cpuHistory: readonly (number | undefined)[];
  readonly memoryBytes: number | undefined;
  /** The memory limit; undefined if there is none. */
  readonly limitBytes: number | undefined;
}

interface Share {
  readonly atMs: number;
  readonly cpu: number;
}

/** The counters of a container, and its CPU use during the last minute. */
interface Track {
  readonly usedNs: bigint;
  /** The server's time of the counter, in nanoseconds since 1970. */
  readonly takenNs: bigint;
  readonly shares: readonly Share[];
  readonly usage: Usage;
}

/**
 * The use of all containers over the last minute, from the counters of successive ListContainerStats. Containers
 * that are no longer listed are forgotten.
 */
export class UsageHistory {
  #tracks: ReadonlyMap<string, Track> = new Map();

  /** Adds a sample that arrived at this time. */
  add(stats: readonly ContainerStats[], nowMs: number): void {
    const tracks = new Map<string, Track>();
    for (const each of stats) {
      const id = each.attributes?.id ?? "";
      tracks.set(id, track(this.#tracks.get(id), each, nowMs));
    }
    this.#tracks = tracks;
  }

  /** The use of a container; undefined if the last sample does not have it. */
  of(id: string): Usage | undefined {
    return this.#tracks.get(id)?.usage;
  }
}

function track(before: Track | undefined, stats: ContainerStats, nowMs: number): Track {
  const counter = {
    usedNs: stats.cpu?.usageCoreNanoSeconds?.value,
    takenNs: stats.cpu?.timestamp ?? 0n,
  };
  const { cpu, shares, takenNs } = cpuOf(before, counter, nowMs);
  const memoryBytes = numberOf(stats.memory?.workingSetBytes);
  const limitBytes = limitOf(memoryBytes, numberOf(stats.memory?.availableBytes));
  return {
    usedNs: counter.usedNs ?? 0n,
    takenNs,
    shares,
    usage: {
      cpu,
      cpuHistory: cellsOf(shares, nowMs),
      memoryBytes,
      limitBytes: limitBytes ?? before?.usage.limitBytes,
    },
  };
}

function cpuOf(
  before: Track | undefined,
  { usedNs, takenNs }: { readonly usedNs: bigint | undefined; readonly takenNs: bigint },
  nowMs: number,
): Pick<Track, "shares" | "takenNs"> & Pick<Usage, "cpu"> {
  // A counter that has decreased is not the successor of the one before.
  if (before === undefined || usedNs === undefined || usedNs < before.usedNs) {
    return { cpu: undefined, shares: [], takenNs };
  }
  const shares = before.shares.filter(({ atMs }) => atMs > nowMs - historyMs);
  const elapsedNs = Number(takenNs - before.takenNs);
  // The server keeps a sample for a moment. The same one twice has no rate, and the last rate is still true.
  if (elapsedNs <= 0) return { cpu: before.usage.cpu, shares, takenNs: before.takenNs };
  const cpu = Number(usedNs - before.usedNs) / elapsedNs;
  return { cpu, shares: [...shares, { atMs: nowMs, cpu }], takenNs };
}

/** Larger values mean that there is no limit. */
const largestLimit = 2 ** 60;

/**
 * The memory limit. api.proto, MemoryUsage: available_bytes is the limit minus the working set. containerd reports 0
 * for a container without a limit, so that 0 says nothing.
 */
function limitOf(used: number | undefined, available: number | undefined): number | undefined {
  if (used === undefined || available === undefined || available === 0) return undefined;
  return used + available < largestLimit ? used + available : undefined;
}

function cellsOf(shares: readonly Share[], nowMs: number): readonly (number | undefined)[] {
  const cells = Array.from<number | undefined>({ length: sparkCells });
  for (const { atMs, cpu } of shares) {
    const at = sparkCells - 1 - Math.floor((nowMs - atMs) / cellMs);
    if (at >= 0) cells[at] = Math.max(cells[at] ?? 0, cpu);
  }
  return cells;
}

/** The sums of several histories, cell by cell. */
export function sumCells(
  histories: readonly (readonly (number | undefined)[])[],
): readonly (number | undefined)[] {
  return Array.from({ length: sparkCells }, (_, at) => sumOf(histories.map((each) => each[at])));
}

/** The sum of the known values; undefined if none is known. */
export function sumOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : known.reduce((sum, value) => sum + value, 0);
}

function numberOf(value: { readonly value: bigint } | undefined): number | undefined {
  return value === undefined ? undefined : Number(value.value);
}
