import type { MemoryUsage, Pressure, ResourceUsage, SwapUsage } from "../../core/stats/index.ts";
import { type CgroupLayout, controllerDir, type LegacyCgroups } from "../../linux/cgroup/index.ts";
import {
  field,
  left,
  number,
  pressureOf,
  type Texts,
  unlimited,
  withNumber,
  withValue,
} from "./kernel-text.ts";

/** The usage of a cgroup at one moment. */
export type CgroupUsage = Omit<ResourceUsage, "takenAtNs" | "cpu"> & {
  readonly cpu: { readonly usageNs: bigint; readonly pressure: Pressure | undefined } | undefined;
};

/** The files of a cgroup with its usage, and how to parse them. */
export interface CgroupFiles {
  readonly paths: readonly string[];
  /** The usage, from the files' texts in the same order. Undefined when the cgroup does not exist. */
  readonly parse: (texts: Texts) => CgroupUsage | undefined;
}

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

function unlessEmpty(usage: CgroupUsage): CgroupUsage | undefined {
  return Object.values(usage).every((part) => part === undefined) ? undefined : usage;
}
