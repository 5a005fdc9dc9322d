import type { LayerUsage, MemoryUsage, NetworkUsage, Pressure, ResourceUsage } from "./stats.ts";

/** How often the limit on processor time stopped a cgroup (CFS bandwidth control). */
export interface CpuThrottling {
  readonly periods: bigint;
  readonly throttledPeriods: bigint;
  readonly throttledNs: bigint;
}

/** Processor time on all cores since the cgroup was made. */
export interface CpuFigures {
  readonly usageNs: bigint;
  readonly userNs: bigint | undefined;
  readonly systemNs: bigint | undefined;
  readonly throttling: CpuThrottling | undefined;
  readonly pressure: Pressure | undefined;
}

/** Memory in bytes, except for what the names say. */
export interface MemoryFigures extends MemoryUsage {
  /** The largest usage until now. */
  readonly maxUsage: bigint | undefined;
  /** How often the usage reached the limit. */
  readonly limitHits: bigint | undefined;
  readonly cache: bigint | undefined;
  readonly mappedFile: bigint | undefined;
  readonly kernel: bigint | undefined;
  /** Swapped memory. */
  readonly swap: bigint | undefined;
  /** Without those of nested cgroups, where the kernel counts them separately. */
  readonly ownPageFaults: bigint | undefined;
  readonly ownMajorPageFaults: bigint | undefined;
}

/** What a cgroup did with a block device. */
export interface DeviceFigures {
  readonly major: number;
  readonly minor: number;
  /** The path of the device, or its numbers if it has none. */
  readonly name: string;
  /** By the kernel's name of the operation: "Read", "Write" and, with cgroup v1, others. */
  readonly bytes: ReadonlyMap<string, bigint>;
  readonly requests: ReadonlyMap<string, bigint>;
}

/** Huge pages of one size, in bytes. */
export interface HugePageFigures {
  /** In the kernel's notation: "2MB", "1GB". */
  readonly pageSize: string;
  readonly usage: bigint;
  /** Undefined with cgroup v2, which does not record it. */
  readonly maxUsage: bigint | undefined;
}

/** All that the kernel counts for the cgroup of a container. What it does not report is undefined. */
export interface CgroupFigures {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  readonly cpu: CpuFigures | undefined;
  readonly memory: MemoryFigures | undefined;
  readonly ioPressure: Pressure | undefined;
  /** Processes killed because memory was short. */
  readonly oomKills: bigint | undefined;
  /** Only devices with I/O. */
  readonly devices: readonly DeviceFigures[];
  /** Processes and threads, including nested cgroups. */
  readonly tasks: bigint | undefined;
}

/** What changes rarely or takes long to count, and is at most 10 s old. */
export interface SlowFigures {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** The processes, including those in nested cgroups, and what they have open. */
  readonly open: OpenFileFigures | undefined;
  /** The soft limit on open files of the container's first process. */
  readonly openFilesLimit: bigint | undefined;
  /** The limit on processes and threads; 0 without a limit. */
  readonly maxTasks: bigint | undefined;
  readonly hugePages: readonly HugePageFigures[];
}

/** What processes have open. */
export interface OpenFileFigures {
  readonly processes: number;
  readonly descriptors: number;
  /** How many of the descriptors are sockets. */
  readonly sockets: number;
}

/** The figures of a running container. */
export interface ContainerFigures {
  /** When the figures were requested; nanoseconds since 1970. */
  readonly seenAtNs: bigint;
  /** Undefined when the container has no cgroup on this host, for example in a virtual machine. */
  readonly cgroup: CgroupFigures | undefined;
  /** Undefined when they cannot be read in time. */
  readonly slow: SlowFigures | undefined;
  /** Undefined until its files have been counted. */
  readonly writableLayer: LayerUsage | undefined;
}

/** The figures of a pod, without those of its containers. */
export interface PodFigures {
  /** Undefined for a pod on the host network, and when its namespace cannot be read in time. */
  readonly network: NetworkUsage | undefined;
  /** What its sandboxer reports; undefined for a pod whose containers' cgroups show its usage. */
  readonly reported: ResourceUsage | undefined;
}

/** The file system of the writable layers. */
export interface FileSystemFigures {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** The device, or what else is mounted. */
  readonly device: string;
  readonly bytes: bigint;
  readonly inodes: bigint;
  readonly freeInodes: bigint;
}

/** The figures of pods and containers for the CRI's metrics, by id. */
export interface Figures {
  readonly pods: ReadonlyMap<string, PodFigures>;
  /** Without those whose cgroup cannot be read in time. */
  readonly containers: ReadonlyMap<string, ContainerFigures>;
  /** Undefined when it cannot be read in time. */
  readonly fileSystem: FileSystemFigures | undefined;
}
