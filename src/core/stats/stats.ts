import type { Container } from "../container/index.ts";
import type { Sandbox } from "../sandbox/index.ts";

/** How long processes waited for a resource (PSI, linux/Documentation/accounting/psi.rst). */
export interface PressureTimes {
  readonly totalNs: bigint;
  /** Per cent of the last 10, 60 and 300 seconds. */
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

/** Memory. Everything but the page faults in bytes. */
export interface MemoryUsage {
  readonly usage: bigint;
  /** The usage without file pages that were not used of late: what cannot be dropped at once. */
  readonly workingSet: bigint;
  /** What the cgroup's own limit leaves beyond the working set; undefined without a limit. */
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
  /** What the cgroup's own limit leaves; undefined without a limit. */
  readonly available: bigint | undefined;
}

/** What a cgroup used, read at one moment. What this kernel does not tell is undefined. */
export interface ResourceUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  readonly cpu: CpuUsage | undefined;
  readonly memory: MemoryUsage | undefined;
  readonly swap: SwapUsage | undefined;
  readonly ioPressure: Pressure | undefined;
  /** Processes and threads, those of cgroups below included, as the pids controller counts. Of a pod alone. */
  readonly tasks: bigint | undefined;
}

/** Space of a container's own writable layer. */
export interface LayerUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** Directory of the file system that it is on: the one that ImageFsInfo names. */
  readonly mountpoint: string;
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/** What a container uses. An immutable value, the same one as long as nothing newer was read. */
export interface ContainerStats {
  /** Undefined for a container that does not run. */
  readonly resources: ResourceUsage | undefined;
  /** Undefined when its files could not be counted yet. */
  readonly writableLayer: LayerUsage | undefined;
}

/** Counters of a network interface since it was made, seen from inside of the pod. */
export interface InterfaceUsage {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxErrors: bigint;
  readonly txBytes: bigint;
  readonly txErrors: bigint;
}

/** What went over a pod's own network. */
export interface NetworkUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** All interfaces but the loopback, in the kernel's order. */
  readonly interfaces: readonly InterfaceUsage[];
}

/** What a sandboxer reports of a sandbox. What it does not tell is undefined. */
export interface ReportedUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** Processor time on all cores since the sandbox was made. */
  readonly cpuNs: bigint | undefined;
  readonly memory: MemoryUsage | undefined;
  /** Processes and threads. */
  readonly tasks: bigint | undefined;
}

/**
 * Who knows what the sandboxes of some handlers use better than the host's cgroups do: a virtual
 * machine's own needs may be accounted elsewhere.
 */
export interface SandboxMeter {
  /** Undefined where nothing is reported of such a sandbox. Rejects when it is not answered in time. */
  usage(sandbox: Sandbox): Promise<ReportedUsage | undefined>;
}

/** What a pod uses as a whole. */
export interface PodStats {
  /** As its sandboxer reports it, else of the pod's cgroup; undefined when it has none. */
  readonly resources: ResourceUsage | undefined;
  /** Undefined for a pod on the host's network, and when its namespace cannot be read. */
  readonly network: NetworkUsage | undefined;
}

/** Measures what containers and pods use. Samples are at most 1 s old, with their own time. */
export interface StatsReader {
  /**
   * Stats by id. One that the kernel or the disk does not answer for in time is missing; the others
   * do not wait for it. A container that does not run has no resources and is no such case.
   */
  containers(containers: readonly Container[]): Promise<ReadonlyMap<string, ContainerStats>>;
  /** The same for pods, without their containers. */
  pods(sandboxes: readonly Sandbox[]): Promise<ReadonlyMap<string, PodStats>>;
}
