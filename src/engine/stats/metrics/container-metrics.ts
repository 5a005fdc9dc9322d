import type { Container } from "../../../core/container/index.ts";
import type {
  CgroupFigures,
  ContainerFigures,
  FileSystemFigures,
  MemoryFigures,
  Pressure,
} from "../../../core/stats/index.ts";
import { specMetrics } from "./spec-metrics.ts";
import {
  type AddSample,
  labelled,
  type LabelledValue,
  metricGroup,
  seconds,
  single,
} from "./metric.ts";

/** A running container with its figures. */
export interface ContainerView {
  readonly container: Container;
  readonly figures: ContainerFigures;
  readonly fileSystem: FileSystemFigures | undefined;
}

/** The labels of values that all containers have. */
const fixed = {
  total: ["total"],
  openFiles: ["max_open_files"],
  faults: ["pgfault", "container"],
  allFaults: ["pgfault", "hierarchy"],
  majorFaults: ["pgmajfault", "container"],
  allMajorFaults: ["pgmajfault", "hierarchy"],
} as const;

// Names, labels and meanings are those of cAdvisor (google/cadvisor, docs/storage/prometheus.md).

const cpu = metricGroup(
  ({ figures }: ContainerView) => figures.cgroup,
  ({ takenAtNs }) => takenAtNs,
  [
    labelled(
      "counter",
      "cpu_usage_seconds_total",
      "Processor time used, in seconds.",
      ["cpu"],
      (of) => (of.cpu === undefined ? [] : [[of.cpu.usageNs / 1_000_000_000n, fixed.total]]),
    ),
    single(
      "counter",
      "cpu_user_seconds_total",
      "Processor time used in user mode, in seconds.",
      (of) => seconds(of.cpu?.userNs),
    ),
    single(
      "counter",
      "cpu_system_seconds_total",
      "Processor time used in the kernel, in seconds.",
      (of) => seconds(of.cpu?.systemNs),
    ),
  ],
);

/** Only for containers with a quota, as with cAdvisor: the kernel counts no periods without one. */
const throttling = metricGroup(
  ({ container, figures: { cgroup } }: ContainerView) => {
    const counted = cgroup?.cpu?.throttling;
    if (counted === undefined || (container.resources?.cpuQuota ?? 0n) <= 0n) return undefined;
    return { ...counted, takenAtNs: cgroup?.takenAtNs ?? 0n };
  },
  ({ takenAtNs }) => takenAtNs,
  [
    single(
      "counter",
      "cpu_cfs_periods_total",
      "Periods in which the CPU quota was enforced.",
      (of) => of.periods,
    ),
    single(
      "counter",
      "cpu_cfs_throttled_periods_total",
      "Periods in which the container was throttled because its CPU quota was used up.",
      (of) => of.throttledPeriods,
    ),
    single(
      "counter",
      "cpu_cfs_throttled_seconds_total",
      "Time for which the container was throttled, in seconds.",
      (of) => seconds(of.throttledNs),
    ),
  ],
);

/** 0 where the kernel does not count something, as with cAdvisor. */
const memory = metricGroup(
  ({ figures: { cgroup } }: ContainerView) =>
    cgroup?.memory && { ...cgroup.memory, takenAtNs: cgroup.takenAtNs },
  ({ takenAtNs }) => takenAtNs,
  [
    single(
      "gauge",
      "memory_usage_bytes",
      "Memory in use, including the page cache.",
      (of) => of.usage,
    ),
    single(
      "gauge",
      "memory_working_set_bytes",
      "Memory in use without inactive file pages, which the kernel can reclaim at once.",
      (of) => of.workingSet,
    ),
    single("gauge", "memory_rss", "Anonymous memory in bytes.", (of) => of.rss ?? 0n),
    single("gauge", "memory_cache", "Page cache in bytes.", (of) => of.cache ?? 0n),
    single("gauge", "memory_mapped_file", "Mapped files in bytes.", (of) => of.mappedFile ?? 0n),
    single(
      "gauge",
      "memory_kernel_usage",
      "Memory of the kernel in bytes.",
      (of) => of.kernel ?? 0n,
    ),
    single("gauge", "memory_swap", "Swapped memory in bytes.", (of) => of.swap ?? 0n),
    single(
      "gauge",
      "memory_max_usage_bytes",
      "The largest memory usage of the container until now.",
      (of) => of.maxUsage ?? 0n,
    ),
    single(
      "counter",
      "memory_failcnt",
      "How often the memory usage reached its limit.",
      (of) => of.limitHits ?? 0n,
    ),
    labelled(
      "counter",
      "memory_failures_total",
      "Page faults: all of them, and those that waited for a disk.",
      ["failure_type", "scope"],
      pageFaults,
    ),
  ],
);

const inCgroup = metricGroup(
  ({ figures }: ContainerView) => figures.cgroup,
  ({ takenAtNs }) => takenAtNs,
  [
    single(
      "counter",
      "oom_events_total",
      "Processes that the kernel killed because memory was short.",
      (of) => of.oomKills,
    ),
    labelled(
      "counter",
      "blkio_device_usage_total",
      "Bytes transferred from and to a block device, by operation.",
      ["device", "major", "minor", "operation"],
      (of) =>
        of.devices.flatMap(({ name, major, minor, bytes }) =>
          [...bytes].map(
            ([operation, count]) =>
              [count, [name, String(major), String(minor), operation]] as const,
          ),
        ),
    ),
    labelled("counter", "fs_reads_total", "Completed reads of a device.", ["device"], (of) =>
      ofDevices(of, "requests", "Read"),
    ),
    labelled("counter", "fs_writes_total", "Completed writes to a device.", ["device"], (of) =>
      ofDevices(of, "requests", "Write"),
    ),
    labelled("counter", "fs_reads_bytes_total", "Bytes read from a device.", ["device"], (of) =>
      ofDevices(of, "bytes", "Read"),
    ),
    labelled("counter", "fs_writes_bytes_total", "Bytes written to a device.", ["device"], (of) =>
      ofDevices(of, "bytes", "Write"),
    ),
    single("gauge", "threads", "Processes and threads of the container.", (of) => of.tasks),
  ],
);

/** Only where the kernel has PSI. */
const pressure = metricGroup(
  ({ figures }: ContainerView) => figures.cgroup,
  ({ takenAtNs }) => takenAtNs,
  (
    [
      ["cpu", "processor time", ({ cpu: its }) => its?.pressure],
      ["memory", "memory", ({ memory: its }) => its?.pressure],
      ["io", "I/O", ({ ioPressure }) => ioPressure],
    ] as const satisfies readonly (readonly [
      string,
      string,
      (of: CgroupFigures) => Pressure | undefined,
    ])[]
  ).flatMap(([name, what, pressureOf]) => [
    single(
      "counter",
      `pressure_${name}_waiting_seconds_total`,
      `Time for which at least one task of the container waited for ${what}, in seconds.`,
      (of: CgroupFigures) => seconds(pressureOf(of)?.some?.totalNs),
    ),
    single(
      "counter",
      `pressure_${name}_stalled_seconds_total`,
      `Time for which all tasks of the container waited for ${what}, in seconds.`,
      (of: CgroupFigures) => seconds(pressureOf(of)?.full?.totalNs),
    ),
  ]),
);

const slow = metricGroup(
  ({ figures }: ContainerView) => figures.slow,
  ({ takenAtNs }) => takenAtNs,
  [
    single("gauge", "processes", "Processes of the container.", ({ open }) =>
      count(open?.processes),
    ),
    single(
      "gauge",
      "file_descriptors",
      "Open file descriptors of all processes of the container.",
      ({ open }) => count(open?.descriptors),
    ),
    single("gauge", "sockets", "How many of the file descriptors are sockets.", ({ open }) =>
      count(open?.sockets),
    ),
    single(
      "gauge",
      "threads_max",
      "The limit on processes and threads; 0 without a limit.",
      (of) => of.maxTasks,
    ),
    labelled(
      "gauge",
      "ulimits_soft",
      "Soft limits of the first process of the container.",
      ["ulimit"],
      (of) => (of.openFilesLimit === undefined ? [] : [[of.openFilesLimit, fixed.openFiles]]),
    ),
    labelled("gauge", "hugetlb_usage_bytes", "Huge pages in use, in bytes.", ["pagesize"], (of) =>
      of.hugePages.map(({ pageSize, usage }) => [usage, [pageSize]]),
    ),
    labelled(
      "gauge",
      "hugetlb_max_usage_bytes",
      "The largest usage of huge pages until now, in bytes. Always 0 with cgroup v2, which does not count it.",
      ["pagesize"],
      (of) => of.hugePages.map(({ pageSize, maxUsage = 0n }) => [maxUsage, [pageSize]]),
    ),
  ],
);

const layer = metricGroup(
  ({ figures: { writableLayer }, fileSystem }: ContainerView) =>
    writableLayer && fileSystem && { ...writableLayer, device: fileSystem.device },
  ({ takenAtNs }) => takenAtNs,
  [
    labelled(
      "gauge",
      "fs_usage_bytes",
      "Disk usage of the writable layer of the container.",
      ["device"],
      ({ bytes, device }) => [[bytes, [device]]],
    ),
  ],
);

const fileSystem = metricGroup(
  (view: ContainerView) => view.fileSystem,
  ({ takenAtNs }) => takenAtNs,
  [
    labelled(
      "gauge",
      "fs_limit_bytes",
      "Size of the file system of the writable layer.",
      ["device"],
      ({ bytes, device }) => [[bytes, [device]]],
    ),
    labelled(
      "gauge",
      "fs_inodes_total",
      "Inodes of the file system of the writable layer.",
      ["device"],
      ({ inodes, device }) => [[inodes, [device]]],
    ),
    labelled(
      "gauge",
      "fs_inodes_free",
      "Free inodes of the file system of the writable layer.",
      ["device"],
      ({ freeInodes, device }) => [[freeInodes, [device]]],
    ),
  ],
);

const presence = metricGroup(
  ({ figures }: ContainerView) => figures,
  ({ seenAtNs }) => seenAtNs,
  [
    single(
      "gauge",
      "last_seen",
      "When the container was last seen running, in seconds since 1970.",
      ({ seenAtNs }) => seconds(seenAtNs),
    ),
  ],
);

/** Those whose samples stay the same until something is read again. */
const measuredGroups = [
  specMetrics,
  cpu,
  throttling,
  memory,
  inCgroup,
  pressure,
  slow,
  layer,
  fileSystem,
];

/** All metrics of containers. */
export const containerMetricGroups = [presence, ...measuredGroups];

/** Adds the samples of a running container, without the current ones. What cannot be read has none. */
export function addContainerSamples(view: ContainerView, add: AddSample): void {
  for (const { read } of measuredGroups) read(view, add);
}

/** Adds the samples that differ in each answer. */
export function addCurrentSamples(view: ContainerView, add: AddSample): void {
  presence.read(view, add);
}

function pageFaults(of: MemoryFigures): readonly LabelledValue[] {
  const { pageFaults: all = 0n, majorPageFaults: major = 0n } = of;
  return [
    [of.ownPageFaults ?? all, fixed.faults],
    [all, fixed.allFaults],
    [of.ownMajorPageFaults ?? major, fixed.majorFaults],
    [major, fixed.allMajorFaults],
  ];
}

function ofDevices(
  { devices }: CgroupFigures,
  what: "bytes" | "requests",
  operation: "Read" | "Write",
): readonly LabelledValue[] {
  return devices.map((device) => [device[what].get(operation) ?? 0n, [device.name]] as const);
}

function count(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(value);
}
