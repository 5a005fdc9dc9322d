/** How long processes waited for a resource (PSI, linux/Documentation/accounting/psi.rst). */
export interface PressureTimes {
  readonly totalNs: bigint;
  /** Percentage of the last 10, 60 and 300 seconds. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

/** `some`: at least one process waited; `full`: all of them did at the same time. */
export interface Pressure {
  readonly some: PressureTimes | undefined;
  readonly full: PressureTimes | undefined;
}

/** Processor time. */
export interface CpuUsage {
  /** On all cores since the cgroup was made. */
  readonly usageNs: bigint;
  /** Nanoseconds a second over the last seconds; undefined until two samples are 1 s apart. */
  readonly usageNanoCores: bigint | undefined;
  readonly pressure: Pressure | undefined;
}

/** Memory, in bytes except for the page faults. */
export interface MemoryUsage {
  readonly usage: bigint;
  /** The usage without inactive file pages, which the kernel can reclaim at once. */
  readonly workingSet: bigint;
  /** The cgroup's own limit minus the working set; undefined without a limit. */
  readonly available: bigint | undefined;
  /** Anonymous memory. */
  readonly rss: bigint | undefined;
  readonly pageFaults: bigint | undefined;
  readonly majorPageFaults: bigint | undefined;
  readonly pressure: Pressure | undefined;
}

/** Swapped memory, in bytes. */
export interface SwapUsage {
  readonly usage: bigint;
  /** The cgroup's own limit minus the usage; undefined without a limit. */
  readonly available: bigint | undefined;
}

/** The resource usage of a cgroup at one moment. Values that the kernel does not report are undefined. */
export interface ResourceUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  readonly cpu: CpuUsage | undefined;
  readonly memory: MemoryUsage | undefined;
  readonly swap: SwapUsage | undefined;
  readonly ioPressure: Pressure | undefined;
  /** Processes and threads, including nested cgroups, as counted by the pids controller. Only for pods. */
  readonly tasks: bigint | undefined;
}

/** The disk usage of a container's writable layer. */
export interface LayerUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** The directory of its file system, as in ImageFsInfo. */
  readonly mountpoint: string;
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/** The resource usage of a container. An immutable value, the same one until a newer sample is read. */
export interface ContainerStats {
  /** Undefined for a container that is not running. */
  readonly resources: ResourceUsage | undefined;
  /** Undefined until its files have been counted. */
  readonly writableLayer: LayerUsage | undefined;
}

/** Counters of a network interface since its creation, as seen from inside the pod. */
export interface InterfaceUsage {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

/** The usage of a pod's own network. */
export interface NetworkUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** All interfaces except the loopback, in the kernel's order. */
  readonly interfaces: readonly InterfaceUsage[];
}

/** The resource usage that a sandboxer reports. Values that it does not report are undefined. */
export interface ReportedUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** Processor time on all cores since the creation of the sandbox. */
  readonly cpuNs: bigint | undefined;
  readonly memory: MemoryUsage | undefined;
  /** Processes and threads. */
  readonly tasks: bigint | undefined;
}

/** The resource usage of a pod as a whole. */
export interface PodStats {
  /** As reported by its sandboxer, else that of the pod's cgroup; undefined when it has no cgroup. */
  readonly resources: ResourceUsage | undefined;
  /** Undefined for a pod on the host network, and when its namespace cannot be read. */
  readonly network: NetworkUsage | undefined;
}
