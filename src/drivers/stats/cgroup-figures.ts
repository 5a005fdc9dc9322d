import { basename } from "node:path";

import type { CgroupFigures, CpuFigures, MemoryFigures } from "../../core/stats/index.ts";
import { type CgroupLayout, controllerDir, type LegacyCgroups } from "../../linux/cgroup/index.ts";
import { type NameDevice, parseIoStat, parseThrottleFiles } from "./block-devices.ts";
import { type CgroupUsage, cgroupFiles } from "./cgroup-usage.ts";
import { field, number, type Texts, withValue } from "./kernel-text.ts";

/** The files with the figures of a container, and how to parse them. */
export interface FigureFiles {
  readonly paths: readonly string[];
  /** The figures, from the files' texts in the same order. Undefined when the cgroup does not exist. */
  readonly parse: (texts: Texts) => Omit<CgroupFigures, "takenAtNs"> | undefined;
}

/** What the files depend on besides the cgroup. */
export interface FigureOptions {
  /** The kernel's sizes of huge pages: "2MB". */
  readonly pageSizes: readonly string[];
  readonly nameDevice: NameDevice;
}

/** The text of a file of the plan by its name. */
type TextOf = (name: string) => string | null | undefined;

type Parts = Pick<
  CgroupFigures,
  "cpu" | "memory" | "oomKills" | "devices" | "hugePages" | "maxTasks"
>;

/** The kernel gives USER_HZ to user space on all architectures that davit supports (proc_stat(5)). */
const nsPerTick = 10_000_000n;

/** The same files for each container of a host. */
export class FigurePlan {
  readonly #layout: CgroupLayout;
  readonly #options: FigureOptions;
  /** The index of each file by its name. The names are different, also those of different hierarchies. */
  #indexes: ReadonlyMap<string, number> | undefined;

  constructor(layout: CgroupLayout, options: FigureOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  /**
   * The files of the container whose cgroup is at `path` (absolute, below each hierarchy's root) and whose first
   * process is `pid`. They include those of cgroupFiles(), so that usage and figures are of one reading.
   */
  files(path: string, pid: number): FigureFiles {
    const layout = this.#layout;
    const usage = cgroupFiles(layout, path, "pod");
    const more =
      layout.version === "v1"
        ? legacyPaths(layout, path, this.#options)
        : unifiedNames(this.#options).map((name) => `${layout.root}${path}/${name}`);
    const paths = [...usage.paths, ...more, `/proc/${String(pid)}/limits`];
    this.#indexes ??= new Map(paths.map((file, index) => [basename(file), index]));
    return { paths, parse: (texts) => this.#parse(texts, usage.parse(texts)) };
  }

  #parse(texts: Texts, used: CgroupUsage | undefined): ReturnType<FigureFiles["parse"]> {
    if (used === undefined) return undefined;
    const textOf: TextOf = (name) => texts[this.#indexes?.get(name) ?? -1];
    const parts = this.#layout.version === "v1" ? legacyParts : unifiedParts;
    return {
      ...parts(textOf, used, this.#options),
      ioPressure: used.ioPressure,
      tasks: used.tasks,
      openFilesLimit: openFilesLimit(textOf("limits")),
    };
  }
}

/** linux/Documentation/admin-guide/cgroup-v1: cpuacct, memory, blkio-controller, pids, hugetlb. */
function legacyPaths(
  layout: LegacyCgroups,
  path: string,
  { pageSizes }: FigureOptions,
): readonly string[] {
  const files = (controller: string, names: readonly string[]): readonly string[] => {
    const dir = controllerDir(layout, controller, path) ?? "/nonexistent";
    return names.map((name) => `${dir}/${name}`);
  };
  return [
    ...files("cpu", ["cpu.stat"]),
    ...files("cpuacct", ["cpuacct.stat"]),
    ...files("memory", [
      "memory.max_usage_in_bytes",
      "memory.failcnt",
      "memory.kmem.usage_in_bytes",
      "memory.oom_control",
    ]),
    ...files("blkio", [
      "blkio.throttle.io_service_bytes_recursive",
      "blkio.throttle.io_serviced_recursive",
    ]),
    ...files("pids", ["pids.max"]),
    ...files(
      "hugetlb",
      pageSizes.flatMap((size) => [
        `hugetlb.${size}.rsvd.usage_in_bytes`,
        `hugetlb.${size}.rsvd.max_usage_in_bytes`,
      ]),
    ),
  ];
}

/** linux/Documentation/admin-guide/cgroup-v2; memory.peak since Linux 5.19. */
function unifiedNames({ pageSizes }: FigureOptions): readonly string[] {
  return [
    "memory.peak",
    "memory.events",
    "io.stat",
    "pids.max",
    ...pageSizes.map((size) => `hugetlb.${size}.rsvd.current`),
  ];
}

function legacyParts(textOf: TextOf, used: CgroupUsage, options: FigureOptions): Parts {
  const [cpuStat, times] = [textOf("cpu.stat"), textOf("cpuacct.stat")];
  const inNs = (ticks: bigint | undefined): bigint | undefined =>
    withValue(ticks, (count) => count * nsPerTick);
  const stat = textOf("memory.stat");
  return {
    cpu: used.cpu && {
      ...used.cpu,
      userNs: inNs(field(times, "user")),
      systemNs: inNs(field(times, "system")),
      throttling: throttling(cpuStat, "throttled_time", 1n),
    },
    memory: used.memory && {
      ...used.memory,
      maxUsage: number(textOf("memory.max_usage_in_bytes")),
      limitHits: number(textOf("memory.failcnt")),
      // The total_ lines count what is in the cgroups below, as the usage does.
      cache: field(stat, "total_cache"),
      mappedFile: field(stat, "total_mapped_file"),
      kernel: number(textOf("memory.kmem.usage_in_bytes")),
      swap: used.swap?.usage,
      ownPageFaults: field(stat, "pgfault"),
      ownMajorPageFaults: field(stat, "pgmajfault"),
    },
    oomKills: field(textOf("memory.oom_control"), "oom_kill"),
    devices: parseThrottleFiles(
      textOf("blkio.throttle.io_service_bytes_recursive"),
      textOf("blkio.throttle.io_serviced_recursive"),
      options.nameDevice,
    ),
    hugePages: options.pageSizes.flatMap((pageSize) => {
      const usage = number(textOf(`hugetlb.${pageSize}.rsvd.usage_in_bytes`));
      const maxUsage = number(textOf(`hugetlb.${pageSize}.rsvd.max_usage_in_bytes`));
      return usage === undefined ? [] : [{ pageSize, usage, maxUsage }];
    }),
    maxTasks: maxTasks(textOf("pids.max")),
  };
}

function unifiedParts(textOf: TextOf, used: CgroupUsage, options: FigureOptions): Parts {
  const [cpuStat, events] = [textOf("cpu.stat"), textOf("memory.events")];
  const inNs = (name: string): bigint | undefined =>
    withValue(field(cpuStat, name), (us) => us * 1000n);
  return {
    cpu: used.cpu && {
      ...used.cpu,
      userNs: inNs("user_usec"),
      systemNs: inNs("system_usec"),
      throttling: throttling(cpuStat, "throttled_usec", 1000n),
    },
    memory: used.memory && unifiedMemory(textOf, used.memory, used.swap?.usage),
    oomKills: field(events, "oom_kill"),
    devices: parseIoStat(textOf("io.stat"), options.nameDevice),
    hugePages: options.pageSizes.flatMap((pageSize) => {
      const usage = number(textOf(`hugetlb.${pageSize}.rsvd.current`));
      return usage === undefined ? [] : [{ pageSize, usage, maxUsage: undefined }];
    }),
    maxTasks: maxTasks(textOf("pids.max")),
  };
}

function unifiedMemory(
  textOf: TextOf,
  memory: NonNullable<CgroupUsage["memory"]>,
  swap: bigint | undefined,
): MemoryFigures {
  const stat = textOf("memory.stat");
  // `kernel`, the sum of all kinds, exists since Linux 5.18.
  const kinds = ["kernel_stack", "pagetables", "percpu", "slab"];
  return {
    ...memory,
    maxUsage: number(textOf("memory.peak")),
    limitHits: field(textOf("memory.events"), "max"),
    cache: field(stat, "file"),
    mappedFile: field(stat, "file_mapped"),
    kernel:
      field(stat, "kernel") ?? kinds.reduce((sum, kind) => sum + (field(stat, kind) ?? 0n), 0n),
    swap,
    ownPageFaults: undefined,
    ownMajorPageFaults: undefined,
  };
}

/** Undefined without the cpu controller. */
function throttling(
  stat: string | null | undefined,
  timeName: string,
  nsPerUnit: bigint,
): CpuFigures["throttling"] {
  const periods = field(stat, "nr_periods");
  const throttledPeriods = field(stat, "nr_throttled");
  const time = field(stat, timeName);
  if (periods === undefined || throttledPeriods === undefined || time === undefined) {
    return undefined;
  }
  return { periods, throttledPeriods, throttledNs: time * nsPerUnit };
}

/** "max" is no limit. */
function maxTasks(text: string | null | undefined): bigint | undefined {
  return text?.trim() === "max" ? 0n : number(text);
}

/** /proc/PID/limits (proc_pid_limits(5)): name, soft limit, hard limit, unit. */
function openFilesLimit(text: string | null | undefined): bigint | undefined {
  const name = "Max open files";
  const at = text?.indexOf(name) ?? -1;
  if (at < 0) return undefined;
  const [soft] = (text?.slice(at + name.length, at + name.length + 64) ?? "")
    .trimStart()
    .split(" ");
  return number(soft);
}
