/** A watch on the OOM kills in a cgroup. Disposing of it ends it. */
export interface OomWatch extends Disposable {
  /** Makes it report the next event. Until then it reports no further one. */
  rearm(): void;
}

/** What the kernel tells about OOM kills in a cgroup. */
export interface OomEvents {
  /**
   * Calls `onEvent` once, at the first event that may mean an OOM kill in the cgroup or below it: its count may
   * change a moment later or not at all. Undefined when the cgroup does not exist. Rejects where the kernel
   * does not report it.
   */
  watch(cgroupPath: string, onEvent: () => void): Promise<OomWatch | undefined>;
  /** How many processes were killed since the cgroup was made; undefined when it does not exist. */
  count(cgroupPath: string): Promise<number | undefined>;
}

/** The OOM kills in a container. */
export interface OomKillCount {
  readonly count: number;
  /** When the last one was noticed, in milliseconds since 1970; undefined for those before the daemon's start. */
  readonly lastMs?: number;
}
