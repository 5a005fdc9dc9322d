import { closeSync, openSync, readFileSync, readlinkSync, write } from "node:fs";
import { release } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

import { parseMountInfo } from "../mount/mounts.ts";
import type { CgroupLayout, LegacyCgroups } from "./layout.ts";
import { favorMigrations } from "./native.ts";

const writeInPool = promisify(write);
/** Shorter than an RCU grace period of the kernel, which takes at least two ticks. */
const intervalMs = 4;
/** How long a migration is expected, by default. */
const defaultExpectedMs = 100;
let isPrewarming = false;
let isFast = false;
const expected = new Set<{ readonly isOver: () => boolean; readonly untilMs: number }>();

/** The options of a tree of v2 that are known here, and so can be kept (kernel/cgroup/cgroup.c, Linux 6.18). */
const knownOptions =
  /^(ro|rw|seclabel|nsdelegate|favordynmods|memory_localevents|memory_recursiveprot|memory_hugetlb_accounting|pids_localevents)$/;
/** The link of the first cgroup namespace (PROC_CGROUP_INIT_INO of include/linux/proc_ns.h). */
const firstNamespace = "cgroup:[4026531835]";

/**
 * Makes migrations into cgroups of v1 fast until the next boot: 0.3 ms instead of 4 to 25. True if they are now. It does
 * nothing on v2, before Linux 6.18, where no tree of v2 is mounted, and where this process may not do it.
 *
 * NOTE(kernel): from Linux 6.18 on, the mount option favordynmods of any hierarchy makes the kernel take a lock of the
 * process that is migrated instead of the lock of all processes, and the end of the option does not undo that
 * (cgroup_enable_per_threadgroup_rwsem in kernel/cgroup/cgroup.c). A fork and an exit then take one more lock, which is
 * that of their own process. Older kernels undo it. So the tree of v2 has the option for a moment. A hierarchy of
 * its own would do as well, but CRIU fails while /proc/PID/cgroup has a line for it.
 */
export async function speedUpCgroupMigration(
  layout: CgroupLayout,
  kernel = release(),
): Promise<boolean> {
  if (layout.version === "v2" || !hasLockPerProcess(kernel)) return false;
  try {
    const options = unifiedOptions();
    if (options === undefined || readlinkSync("/proc/self/ns/cgroup") !== firstNamespace) {
      return false;
    }
    if (!options.includes("favordynmods")) await favorMigrations(options);
    isFast = true;
  } catch {
    // As before: each first migration waits.
  }
  return isFast;
}

/** Undefined without a tree of v2, and for one with an option that is not known. */
function unifiedOptions(): readonly string[] | undefined {
  const mounts = parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"));
  const unified = mounts.find(({ fsType }) => fsType === "cgroup2");
  if (unified?.superOptions.every((option) => knownOptions.test(option)) !== true) return undefined;
  return unified.superOptions.filter((option) => !["ro", "rw", "seclabel"].includes(option));
}

function hasLockPerProcess(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 18);
}

/**
 * Prepares the kernel for processes that will soon be moved into cgroups. Call it some milliseconds ahead, without
 * waiting for it. It changes nothing, never fails, and does nothing on v2, where a child starts in its cgroup, and after
 * {@link speedUpCgroupMigration}.
 *
 * NOTE(kernel): the first migration after a while waits for an RCU grace period, because it makes every
 * fork and exit take the slow path of `cgroup_threadgroup_rwsem` (kernel/cgroup/cgroup.c and
 * kernel/rcu/sync.c). That takes 4 to 25 ms, all of it in the first write of an OCI runtime to cgroup.procs.
 * Migrations within the next grace period do not wait. So this process migrates itself
 * to its own cgroup first, and the wait is over when the runtime has been loaded.
 */
export async function prewarmCgroupMigration(layout: CgroupLayout): Promise<void> {
  if (layout.version === "v2" || isFast || isPrewarming) return;
  isPrewarming = true;
  let fd: number | undefined;
  try {
    // Read each time, because an administrator may have moved this process. Not in the pool,
    // where each of these steps would start some milliseconds after the previous one ended.
    const path = ownCgroupProcs(layout, readFileSync("/proc/self/cgroup", "latin1"));
    if (path === undefined) return;
    fd = openSync(path, "r+");
    await writeInPool(fd, "0");
  } catch {
    // Then the migration of the container waits.
  } finally {
    isPrewarming = false;
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Calls {@link prewarmCgroupMigration} for a migration by another process, repeatedly until `isOver` is true (for at
 * most 100 ms, or `longestMs`): on a busy machine an OCI runtime can be so late that it would wait again.
 */
export function expectCgroupMigration(
  layout: CgroupLayout,
  isOver: () => boolean,
  longestMs = defaultExpectedMs,
): void {
  if (layout.version === "v2" || isFast) return;
  expected.add({ isOver, untilMs: performance.now() + longestMs });
  if (expected.size === 1) void keepPrewarm(layout);
}

async function keepPrewarm(layout: CgroupLayout): Promise<void> {
  while (expected.size > 0) {
    await prewarmCgroupMigration(layout);
    await delay(intervalMs);
    for (const migration of expected) {
      if (performance.now() > migration.untilMs || migration.isOver()) expected.delete(migration);
    }
  }
}

/** The cgroup.procs of this process in the first v1 hierarchy that a text of /proc/PID/cgroup names. */
export function ownCgroupProcs(layout: LegacyCgroups, text: string): string | undefined {
  for (const line of text.split("\n")) {
    const match = /^\d+:([^:]+):(\/.*)$/.exec(line);
    const hierarchy = layout.hierarchies.find((h) => h.controllers.join(",") === match?.[1]);
    if (match !== null && hierarchy !== undefined) {
      return `${hierarchy.path}${match[2] === "/" ? "" : match[2]}/cgroup.procs`;
    }
  }
  return undefined;
}
