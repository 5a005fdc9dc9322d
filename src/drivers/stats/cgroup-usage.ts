import type {
  MemoryUsage,
  Pressure,
  PressureTimes,
  ResourceUsage,
  SwapUsage,
} from "../../core/stats/index.ts";
import { type CgroupLayout, controllerDir, type LegacyCgroups } from "../../linux/cgroup/index.ts";

/** The usage of a cgroup at one moment. */
export type CgroupUsage = Omit<ResourceUsage, "takenAtNs" | "cpu"> & {
  readonly cpu: { readonly usageNs: bigint; readonly pressure: Pressure | undefined } | undefined;
};

/** Returns the text of a file of the plan, undefined when it could not be read. */
type Texts = readonly (string | null)[];

/** The files of a cgroup with its usage, and how to parse them. */
export interface CgroupFiles {
  readonly paths: readonly string[];
  /** The usage, from the files' texts in the same order. Undefined when the cgroup does not exist. */
  readonly parse: (texts: Texts) => CgroupUsage | undefined;
}

/**
 * v1's LONG_MAX rounded down to a page, and v2's "max", mean no limit. The bound is far below
 * either and far above any memory.
 */
const unlimited = 1n << 62n;

/**
 * The files with the usage of the cgroup at `path` (absolute, below each hierarchy's root). Tasks are
 * those of a pod: the CRI has none for a container.
 */
export function cgroupFiles(
  layout: CgroupLayout,
  path: string,
  of: "container" | "pod",
): CgroupFiles {
  const { paths, parse } =
    layout.version === "v1" ? legacyFiles(layout, path) : unifiedFiles(layout.root, path);
  return { parse, paths: of === "pod" ? paths : paths.slice(0, -1) };
}

/** linux/Documentation/admin-guide/cgroup-v1: cpuacct, memory, pids. */
function legacyFiles(layout: LegacyCgroups, path: string): CgroupFiles {
  const file = (controller: string, name: string): string =>
    `${controllerDir(layout, controller, path) ?? "/nonexistent"}/${name}`;
  return {
    paths: [
      file("cpuacct", "cpuacct.usage"),
      file("memory", "memory.usage_in_bytes"),
      file("memory", "memory.stat"),
      file("memory", "memory.limit_in_bytes"),
      file("memory", "memory.memsw.limit_in_bytes"),
      file("pids", "pids.current"), // the last one, see cgroupFiles()
    ],
    parse: ([cpu, usage, stat, limit, memswLimit, tasks]) =>
      unlessEmpty({
        cpu: withNumber(cpu, (usageNs) => ({ usageNs, pressure: undefined })),
        memory: legacyMemory(usage, stat, limit),
        swap: legacySwap(stat, limit, memswLimit),
        ioPressure: undefined,
        tasks: number(tasks),
      }),
  };
}

function legacyMemory(
  usageText: string | null | undefined,
  stat: string | null | undefined,
  limit: string | null | undefined,
): MemoryUsage | undefined {
  // The total_ lines count what is in the cgroups below, as the usage does.
  return withNumber(usageText, (usage) => ({
    ...sizes(usage, field(stat, "total_inactive_file"), number(limit)),
    rss: field(stat, "total_rss"),
    pageFaults: field(stat, "total_pgfault"),
    majorPageFaults: field(stat, "total_pgmajfault"),
    pressure: undefined,
  }));
}

/** Without swap accounting neither the line nor the memsw files exist. */
function legacySwap(
  stat: string | null | undefined,
  limitText: string | null | undefined,
  memswText: string | null | undefined,
): SwapUsage | undefined {
  const usage = field(stat, "total_swap");
  if (usage === undefined) return undefined;
  const limit = number(limitText);
  const both = number(memswText);
  // memsw limits memory and swap together.
  const isLimited = limit !== undefined && both !== undefined && both < unlimited;
  return { usage, available: isLimited ? left(both - limit, usage) : undefined };
}

/** linux/Documentation/admin-guide/cgroup-v2: cpu, memory, io, pids; PSI since Linux 4.20. */
function unifiedFiles(root: string, path: string): CgroupFiles {
  const names = [
    "cpu.stat",
    "cpu.pressure",
    "memory.current",
    "memory.stat",
    "memory.max",
    "memory.pressure",
    "memory.swap.current",
    "memory.swap.max",
    "io.pressure",
    "pids.current", // the last one, see cgroupFiles()
  ];
  return {
    paths: names.map((name) => `${root}${path}/${name}`),
    parse: ([cpu, cpuPsi, usage, stat, max, memoryPsi, swap, swapMax, ioPsi, tasks]) =>
      unlessEmpty({
        cpu: withValue(field(cpu, "usage_usec"), (us) => ({
          usageNs: us * 1000n,
          pressure: pressureOf(cpuPsi),
        })),
        memory: withNumber(usage, (bytes) => ({
          ...sizes(bytes, field(stat, "inactive_file"), number(max)),
          rss: field(stat, "anon"),
          pageFaults: field(stat, "pgfault"),
          majorPageFaults: field(stat, "pgmajfault"),
          pressure: pressureOf(memoryPsi),
        })),
        swap: withNumber(swap, (bytes) => ({
          usage: bytes,
          available: withNumber(swapMax, (most) => left(most, bytes)),
        })),
        ioPressure: pressureOf(ioPsi),
        tasks: number(tasks),
      }),
  };
}

/** The working set is what cAdvisor and kubelet's eviction mean by it: no inactive file pages. */
function sizes(
  usage: bigint,
  inactiveFile: bigint | undefined,
  limit: bigint | undefined,
): Pick<MemoryUsage, "usage" | "workingSet" | "available"> {
  const workingSet = left(usage, inactiveFile ?? 0n);
  const isLimited = limit !== undefined && limit < unlimited;
  return { usage, workingSet, available: isLimited ? left(limit, workingSet) : undefined };
}

/** The counters of different files are not of one instant, so a difference can fall below zero. */
function left(whole: bigint, part: bigint): bigint {
  return whole > part ? whole - part : 0n;
}

function unlessEmpty(usage: CgroupUsage): CgroupUsage | undefined {
  return Object.values(usage).every((part) => part === undefined) ? undefined : usage;
}

function withValue<T>(value: bigint | undefined, make: (value: bigint) => T): T | undefined {
  return value === undefined ? undefined : make(value);
}

function withNumber<T>(text: string | null | undefined, make: (value: bigint) => T): T | undefined {
  return withValue(number(text), make);
}

/** A file of one number. "max" (v2) is not a number. */
function number(text: string | null | undefined): bigint | undefined {
  const digits = text?.trim() ?? "";
  return /^\d+$/.test(digits) ? BigInt(digits) : undefined;
}

/** The number on the line that begins with `name`, of a flat keyed file. */
function field(text: string | null | undefined, name: string): bigint | undefined {
  if (text === null || text === undefined) return undefined;
  const key = `${name} `;
  const at = text.startsWith(key) ? 0 : text.indexOf(`\n${key}`) + 1;
  if (at === 0 && !text.startsWith(key)) return undefined;
  const end = text.indexOf("\n", at);
  return number(text.slice(at + key.length, end < 0 ? undefined : end));
}

/** Undefined where the kernel has no PSI: the file is missing, or reading it is refused. */
function pressureOf(text: string | null | undefined): Pressure | undefined {
  if (text === null || text === undefined) return undefined;
  const some = pressureTimes(text, "some");
  const full = pressureTimes(text, "full");
  return some === undefined && full === undefined ? undefined : { some, full };
}

function pressureTimes(text: string, kind: "some" | "full"): PressureTimes | undefined {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${kind} `));
  const [, avg10, avg60, avg300, totalUs] =
    /avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)/.exec(line ?? "") ?? [];
  if (totalUs === undefined) return undefined;
  return {
    avg10: Number(avg10),
    avg60: Number(avg60),
    avg300: Number(avg300),
    totalNs: BigInt(totalUs) * 1000n,
  };
}
