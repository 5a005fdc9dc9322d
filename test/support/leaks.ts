/**
 * The leak check: compares snapshots of processes, kernel objects and files before and after, and names the
 * differences.
 *
 * Suites wrap their work in `withLeakCheck`; the runner (test/run.ts) does the same around every
 * file, inside the file's namespaces and outside them. Tests only, so it reads /proc and calls
 * ip(8), iptables-save(8) and nft(8) directly: the code under test must not check itself.
 */
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { belongsToFile, isStrictHost, ownsCgroup, ownsTemporary } from "./belongs.ts";
import {
  cgroupNames,
  cniNames,
  fileNames,
  ipcNames,
  mountNames,
  namespaceNames,
  readMounts,
  rowCounts,
  temporaryNames,
} from "./snapshot/files.ts";
import { patient } from "./patience.ts";
import { networkNames } from "./snapshot/network.ts";
import { descriptorNames, isLateSync, isOomWatch, processNames } from "./snapshot/processes.ts";
import {
  type Counts,
  countNames,
  type Difference,
  type LeakKind,
  leakKinds,
  type Snapshot,
  type SnapshotOptions,
} from "./snapshot/shape.ts";

export type { Difference, LeakKind, Snapshot, SnapshotOptions } from "./snapshot/shape.ts";

/** Differences that are not leaks: a whole kind, or the names of a kind that match. */
export type Allowed = Partial<Readonly<Record<LeakKind, true | readonly RegExp[]>>>;

/**
 * The chains that CNI's portmap creates at its first host port and keeps without pods: DEL removes only the pod's
 * own chain and the rule that jumps to it.
 */
export const portmapKeeps = {
  iptables: [
    /:CNI-HOSTPORT-(DNAT|MASQ|SETMARK) -$/,
    /-j CNI-HOSTPORT-(DNAT|MASQ)$/,
    /-A CNI-HOSTPORT-MASQ .*-j MASQUERADE$/,
    /-A CNI-HOSTPORT-SETMARK .*-j MARK --set-xmark/,
  ],
  nft: [
    /chain CNI-HOSTPORT-(DNAT|MASQ|SETMARK)$/,
    /jump CNI-HOSTPORT-(DNAT|MASQ)$/,
    /chain CNI-HOSTPORT-MASQ: .* (masquerade|xt target "MASQUERADE")$/,
    /chain CNI-HOSTPORT-SETMARK: .* mark /,
  ],
} as const satisfies Allowed;

export interface LeakCheckOptions extends SnapshotOptions {
  readonly allow?: Allowed;
  /** How long processes and unmounts may take to end; the default is 2000. See `patient`. */
  readonly settleMs?: number;
  /** Which differences count; the default is `belongsToFile`, and all of them on a strict host. */
  readonly counts?: (difference: Difference) => boolean;
}

/** Takes a snapshot of everything that `options` asks for, in the namespaces of this process. */
export async function takeSnapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
  // Before networkNames() starts its tools, which would count as processes of the test.
  const processes = processNames(options.processes ?? defaultProcesses());
  const mounts = readMounts();
  const { cgroups = ownsCgroup, temporary = ownsTemporary } = options;
  const daemon = valueOf(options.daemonPid);
  const database = valueOf(options.database);
  const descriptors = daemon === undefined ? [] : descriptorNames(daemon);
  const network = await networkNames();
  return {
    process: countNames(processes),
    mount: countNames(mountNames(mounts)),
    namespace: countNames(namespaceNames(mounts)),
    cgroup: countNames(cgroupNames(mounts, cgroups)),
    link: countNames(network.link),
    address: countNames(network.address),
    route: countNames(network.route),
    iptables: countNames(network.iptables),
    nft: countNames(network.nft),
    cni: countNames(cniNames(["/var/lib/cni", ...(options.cniDirs ?? [])])),
    fd: countNames(descriptors.filter((target) => !isOomWatch(target) && !isLateSync(target))),
    row: database === undefined ? new Map() : rowCounts(database),
    file: countNames([
      ...fileNames(options.roots ?? [], options.ignoreFiles ?? []),
      ...temporaryNames().filter((name) => temporary(name)),
    ]),
    ipc: countNames(ipcNames()),
  };
}

function valueOf<T extends string | number>(given: T | (() => T | undefined) | undefined) {
  return typeof given === "function" ? given() : given;
}

/** The runner says so in the environment when the file has a pid namespace to itself. */
function defaultProcesses(): "namespace" | "own" {
  return process.env["DAVIT_TEST_NAMESPACE"] === undefined ? "own" : "namespace";
}

/**
 * The differences that are not allowed. A process or descriptor that ended is not a difference. Any other object
 * that is gone is one: the test removed something that it did not make.
 */
export function diffSnapshots(
  before: Snapshot,
  after: Snapshot,
  allow: Allowed = {},
): readonly Difference[] {
  return leakKinds.flatMap((kind) => {
    const allowed = allow[kind];
    if (allowed === true) return [];
    return diffCounts(before[kind], after[kind])
      .filter(([, count]) => count > 0 || (kind !== "process" && kind !== "fd"))
      .filter(([name]) => allowed?.some((pattern) => pattern.test(name)) !== true)
      .map(([name, count]) => ({ kind, name, count }));
  });
}

function diffCounts(before: Counts, after: Counts): readonly (readonly [string, number])[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names]
    .map((name) => [name, (after.get(name) ?? 0) - (before.get(name) ?? 0)] as const)
    .filter(([, count]) => count !== 0);
}

/**
 * The differences to `before` that are still there when `settleMs` is over: a process that is
 * about to end and an unmount in progress are not leaks. Returns at once when nothing differs.
 */
export async function findLeaks(
  before: Snapshot,
  options: LeakCheckOptions = {},
): Promise<readonly Difference[]> {
  const deadline = Date.now() + patient(options.settleMs ?? 2000);
  const counts = options.counts ?? (isStrictHost() ? () => true : belongsToFile);
  for (;;) {
    const after = await takeSnapshot(options);
    const leaks = diffSnapshots(before, after, options.allow).filter(counts);
    if (leaks.length === 0 || Date.now() >= deadline) return leaks;
    await sleep(50);
  }
}

/** One line a difference: `+ mount /run/x (tmpfs tmpfs)`. */
export function describeLeaks(leaks: readonly Difference[]): string {
  return leaks
    .map(({ kind, name, count }) => {
      const times = Math.abs(count) > 1 ? ` (${Math.abs(count)} times)` : "";
      return `${count > 0 ? "+" : "-"} ${kind} ${name}${times}`;
    })
    .join("\n");
}

/**
 * Runs `fn`. Fails if it left or removed anything, and names each object. An error of `fn` itself takes
 * precedence: leaks are then only a diagnostic of the test.
 */
export async function withLeakCheck<T>(
  t: Pick<TestContext, "diagnostic">,
  options: LeakCheckOptions,
  fn: () => Promise<T>,
): Promise<T> {
  const before = await takeSnapshot(options);
  let result: T;
  try {
    result = await fn();
  } catch (error) {
    const left = await findLeaks(before, options);
    if (left.length > 0) t.diagnostic(`left behind by the failure:\n${describeLeaks(left)}`);
    throw error;
  }
  const leaks = await findLeaks(before, options);
  if (leaks.length > 0) throw new Error(`found what was left behind:\n${describeLeaks(leaks)}`);
  return result;
}
