/** What a container uses, or used until its end. What the kernel does not report is undefined. */
export interface ContainerUsage {
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** Of all its processes on all cores. */
  readonly cpuNs?: bigint | undefined;
  /** The working set in bytes. Undefined for a container that has ended. */
  readonly memoryBytes?: bigint | undefined;
  /** The most memory that was in use, page cache included. */
  readonly memoryPeakBytes?: bigint | undefined;
  /** Processes that the kernel killed for lack of memory. */
  readonly oomKills?: bigint | undefined;
  /** Bytes of block devices. */
  readonly readBytes?: bigint | undefined;
  readonly writtenBytes?: bigint | undefined;
  /** Processes and threads. Undefined for a container that has ended. */
  readonly pids?: bigint | undefined;
}

/**
 * Reads the usage of a cgroup (its path below each hierarchy's root), of a container that runs or that has
 * ended. Undefined if the cgroup does not exist; `unavailable` if the kernel does not answer in time.
 */
export type UsageReader = (
  cgroupPath: string,
  of: "running" | "ended",
) => Promise<ContainerUsage | undefined>;
