import { closeSync, openSync, readFileSync, write } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

import type { CgroupLayout, LegacyCgroups } from "./layout.ts";

const writeInPool = promisify(write);
/** Shorter than a grace period of the kernel, which takes two ticks at least. */
const againMs = 4;
/** For how long a move is expected at most, if nobody says otherwise. */
const usualLongestMs = 100;
let underWay = false;
const expected = new Set<{ readonly isOver: () => boolean; readonly untilMs: number }>();

/**
 * Tells the kernel that processes will soon be moved into cgroups. Call it without waiting for it,
 * some milliseconds ahead; it changes nothing, never fails, and does nothing on v2, where a child is
 * born in its cgroup.
 *
 * NOTE(kernel): the first move after a quiet moment waits for an RCU grace period, as it makes every
 * fork and exit take the slow path of `cgroup_threadgroup_rwsem` (kernel/cgroup/cgroup.c and
 * kernel/rcu/sync.c): 4 to 25 ms, all of it in the first of an OCI runtime's writes to cgroup.procs.
 * Moves that follow within the next grace period are free. So we are the first, with a move of this
 * process to where it is, and the wait passes while the runtime is still being loaded.
 */
export async function prewarmCgroupMigration(layout: CgroupLayout): Promise<void> {
  if (layout.version === "v2" || underWay) return;
  underWay = true;
  let fd: number | undefined;
  try {
    // Read each time: somebody may have moved us, and is not to be contradicted. Not in the pool,
    // where each of these steps would begin some milliseconds later than the last one ended.
    const path = ownCgroupProcs(layout, readFileSync("/proc/self/cgroup", "latin1"));
    if (path === undefined) return;
    fd = openSync(path, "r+");
    await writeInPool(fd, "0");
  } catch {
    // Then the move that matters waits, as it would have without us.
  } finally {
    underWay = false;
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Announces a move that somebody else makes, and again until `isOver` says that it has been made (100 ms
 * at most, or `longestMs`): on a busy machine an OCI runtime comes to it so late that it would have to
 * wait again.
 */
export function expectCgroupMigration(
  layout: CgroupLayout,
  isOver: () => boolean,
  longestMs = usualLongestMs,
): void {
  if (layout.version === "v2") return;
  expected.add({ isOver, untilMs: performance.now() + longestMs });
  if (expected.size === 1) void keepAnnouncing(layout);
}

async function keepAnnouncing(layout: CgroupLayout): Promise<void> {
  while (expected.size > 0) {
    await prewarmCgroupMigration(layout);
    await delay(againMs);
    for (const move of expected) {
      if (performance.now() > move.untilMs || move.isOver()) expected.delete(move);
    }
  }
}

/** The cgroup.procs that we are in, in the first v1 hierarchy that a text of /proc/PID/cgroup names. */
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
