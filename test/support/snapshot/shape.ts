/** The kinds of things that a test, or the daemon it drives, can leave behind. */
export const leakKinds = [
  "process",
  "mount",
  "namespace",
  "cgroup",
  "link",
  "address",
  "route",
  "iptables",
  "nft",
  "cni",
  "fd",
  "row",
  "file",
  "ipc",
] as const;

export type LeakKind = (typeof leakKinds)[number];

/**
 * A multiset: how often each name occurs. Names have no parts that change by themselves (counters, handles, ids), so
 * that equal states have equal snapshots.
 */
export type Counts = ReadonlyMap<string, number>;

/** An object that is new (count > 0) or no longer exists (count < 0). */
export interface Difference {
  readonly kind: LeakKind;
  readonly name: string;
  readonly count: number;
}

/** The objects of the kernel and the disk at one moment. */
export type Snapshot = Readonly<Record<LeakKind, Counts>>;

/** What a snapshot has. Kinds that are not selected are not compared. */
export interface SnapshotOptions {
  /**
   * Which processes count: `namespace` is all of this pid namespace, `own` those that carry our
   * DAVIT_TEST_RUN in their environment or descend from this process, `{ run }` those that carry
   * another one. The default is `namespace` where the runner gave the file a pid namespace of its
   * own, else `own`.
   */
  readonly processes?: "namespace" | "own" | { readonly run: string };
  /** Which cgroups count, by their path below the mount; the default is `ownsCgroup`. */
  readonly cgroups?: (path: string) => boolean;
  /** Which entries of /tmp that begin with "davit" count, by path; the default is `ownsTemporary`. */
  readonly temporary?: (path: string) => boolean;
  /** Directories of IPAM files and of the CNI cache, besides /var/lib/cni. */
  readonly cniDirs?: readonly string[];
  /** A process whose open descriptors are compared; a function where it may be restarted. */
  readonly daemonPid?: number | (() => number);
  /** A SQLite file whose rows are counted, table by table; a function where it comes later. */
  readonly database?: string | (() => string | undefined);
  /** Directories whose files are compared, all the way down on the same file system. */
  readonly roots?: readonly string[];
  /** Files below `roots` that do not count. */
  readonly ignoreFiles?: readonly RegExp[];
}

/** Counts equal names. */
export function countNames(names: Iterable<string>): Counts {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
