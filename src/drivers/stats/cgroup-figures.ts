import { basename } from "node:path";

import type {
  CgroupFigures,
  CpuFigures,
  MemoryFigures,
  SlowFigures,
} from "../../core/stats/index.ts";
import { type CgroupLayout, controllerDir } from "../../linux/cgroup/index.ts";
import { type NameDevice, parseIoStat, parseThrottleFiles } from "./block-devices.ts";
import { cgroupFiles, type CgroupUsage } from "./cgroup-usage.ts";
import { field, number, type Texts, withValue } from "./kernel-text.ts";

/** Files of a container, and how to parse them. */
interface FigureFiles<T> {
  readonly paths: readonly string[];
  /** From the files' texts in the same order. */
  readonly parse: (texts: Texts) => T;
}

/** Undefined when the cgroup does not exist. */
type ParsedCgroup = Omit<CgroupFigures, "takenAtNs"> | undefined;
type ParsedSlow = Pick<SlowFigures, "openFilesLimit" | "maxTasks" | "hugePages">;

/** What the files depend on besides the cgroup. */
export interface FigureOptions {
  /** The kernel's sizes of huge pages: "2MB". */
  readonly pageSizes: readonly string[];
  readonly nameDevice: NameDevice;
}

/** The text of a file of the plan by its name. */
type TextOf = (name: string) => string | null | undefined;

type Parts = Pick<CgroupFigures, "cpu" | "memory" | "oomKills" | "devices">;

/** The kernel gives USER_HZ to user space on all architectures that davit supports (proc_stat(5)). */
const nsPerTick = 10_000_000n;

/** Not read: no metric has what remains until a limit. */
const limitFiles: ReadonlySet<string> = new Set([
  "memory.limit_in_bytes",
  "memory.memsw.limit_in_bytes",
  "memory.max",
  "memory.swap.max",
]);

/** The files of the containers of a host. */
export class FigurePlan {
  readonly #layout: CgroupLayout;
  readonly #options: FigureOptions;
  readonly #names = new FileNames();
  readonly #slowNames = new FileNames();
  readonly #fewSlowNames = new FileNames();

  constructor(layout: CgroupLayout, options: FigureOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  /**
   * The files with the figures of the cgroup at `path` (absolute, below each hierarchy's root). They include those of
   * cgroupFiles(), so that usage and figures are of one reading.
   */
  cgroup(path: string): FigureFiles<ParsedCgroup> {
    const usage = cgroupFiles(this.#layout, path, "pod");
    const isV1 = this.#layout.version === "v1";
    const paths = [
      ...usage.paths.filter((file) => !limitFiles.has(basename(file))),
      ...this.#paths(path, isV1 ? legacyFiles : unifiedFiles),
    ];
    const parts = isV1 ? legacyParts : unifiedParts;
    const indexes = usage.paths.map((file) => paths.indexOf(file));
    const parse = (texts: Texts): ParsedCgroup => {
      const textOf = this.#names.textsOf(paths, texts);
      const used = usage.parse(indexes.map((at) => texts[at] ?? null));
      if (used === undefined) return undefined;
      const { ioPressure, tasks } = used;
      return { ...parts(textOf, used, this.#options.nameDevice), ioPressure, tasks };
    };
    return { paths, parse };
  }

  /**
   * The files with what changes rarely, of a container whose first process is `pid`. Those of huge pages are most of
   * them: without them `parse` finds none.
   */
  slow(path: string, pid: number, withHugePages = true): FigureFiles<ParsedSlow> {
    const pageSizes = withHugePages ? this.#options.pageSizes : [];
    const names =
      this.#layout.version === "v1"
        ? ["usage_in_bytes", "max_usage_in_bytes"]
        : ["current"]; /* v2 does not record the largest usage. */
    const hugetlb = pageSizes.flatMap((size) =>
      names.map((name) => `hugetlb.${size}.rsvd.${name}`),
    );
    const paths = [
      ...this.#paths(path, { pids: ["pids.max"], hugetlb }),
      `/proc/${String(pid)}/limits`,
    ];
    const parse = (texts: Texts): ParsedSlow => {
      const fileNames = withHugePages ? this.#slowNames : this.#fewSlowNames;
      const textOf = fileNames.textsOf(paths, texts);
      const hugePages = pageSizes.flatMap((pageSize) => {
        const [usage, maxUsage] = names.map((name) =>
          number(textOf(`hugetlb.${pageSize}.rsvd.${name}`)),
        );
        return usage === undefined ? [] : [{ pageSize, usage, maxUsage }];
      });
      const maxTasks = textOf("pids.max");
      return {
        openFilesLimit: openFilesLimit(textOf("limits")),
        maxTasks: maxTasks?.trim() === "max" ? 0n : number(maxTasks),
        hugePages,
      };
    };
    return { paths, parse };
  }

  /** The paths of files by their controller; with v2 all are in one directory. */
  #paths(path: string, files: Readonly<Record<string, readonly string[]>>): readonly string[] {
    const layout = this.#layout;
    return Object.entries(files).flatMap(([controller, names]) => {
      const dir =
        layout.version === "v2"
          ? layout.root + path
          : (controllerDir(layout, controller, path) ?? "/nonexistent");
      return names.map((name) => `${dir}/${name}`);
    });
  }
}

/** Finds texts by the names of their files, which are the same ones for each container, and all different. */
class FileNames {
  #indexes: ReadonlyMap<string, number> | undefined;

  textsOf(paths: readonly string[], texts: Texts): TextOf {
    const indexes = (this.#indexes ??= new Map(paths.map((file, at) => [basename(file), at])));
    return (name) => texts[indexes.get(name) ?? -1];
  }
}

/** linux/Documentation/admin-guide/cgroup-v1: cpuacct, memory, blkio-controller. */
const legacyFiles = {
  cpu: ["cpu.stat"],
  cpuacct: ["cpuacct.stat"],
  memory: [
    "memory.max_usage_in_bytes",
    "memory.failcnt",
    "memory.kmem.usage_in_bytes",
    "memory.oom_control",
  ],
  blkio: ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"],
};

/** linux/Documentation/admin-guide/cgroup-v2; memory.peak since Linux 5.19. */
const unifiedFiles = { memory: ["memory.peak", "memory.events"], io: ["io.stat"] };

function legacyParts(textOf: TextOf, used: CgroupUsage, nameDevice: NameDevice): Parts {
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
      nameDevice,
    ),
  };
}

function unifiedParts(textOf: TextOf, used: CgroupUsage, nameDevice: NameDevice): Parts {
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
    devices: parseIoStat(textOf("io.stat"), nameDevice),
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

/** The soft limit in the text of /proc/PID/limits (proc_pid_limits(5)): name, soft limit, hard limit, unit. */
export function openFilesLimit(text: string | null | undefined): bigint | undefined {
  const name = "Max open files";
  const at = text?.indexOf(name) ?? -1;
  if (at < 0) return undefined;
  const [soft] = (text?.slice(at + name.length, at + name.length + 64) ?? "")
    .trimStart()
    .split(" ");
  return number(soft);
}
