import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, SystemError, systemError } from "../../base/system-error.ts";
import { readCgroupFile, writeCgroupFile } from "./files.ts";
import {
  type CgroupHierarchy,
  type CgroupLayout,
  cgroupDirs,
  cgroupParts,
  hierarchiesOf,
} from "./layout.ts";
import { listCgroups, removeCgroups } from "./native.ts";

/** The controllers of container limits. Other controllers are not changed. */
const wantedControllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/** How often a cgroup is made on a level that another process removes at the same time. */
const mostAttempts = 100;

/** Longest pause between attempts, in milliseconds. An attempt takes about one. */
const maxPauseMs = 5;

/** How long a cgroup may be busy. It is busy for a moment after its last process ended, far less than this. */
const busyTimeoutMs = 1000;

/**
 * Makes a cgroup in every hierarchy, with its parents, ready for processes: on v1
 * an empty `cpuset.cpus` or `cpuset.mems` is copied from the parent (otherwise no process can enter:
 * cpuset(7)), on v2 the available controllers are enabled in the parents.
 *
 * A level that another process removes meanwhile, because it was empty, is made again.
 *
 * Returns the directories that it made, in order, for
 * `removeCgroupDirs`. When it rejects, those are removed again.
 */
export async function createCgroup(layout: CgroupLayout, path: string): Promise<readonly string[]> {
  const parts = cgroupParts(path);
  const made: string[] = [];
  try {
    for (const hierarchy of hierarchiesOf(layout)) {
      await untilNoneIsTaken(() => createLevels(layout, hierarchy, parts, made));
    }
  } catch (cause) {
    await removeCgroupDirs(made).catch(() => undefined); // report the first failure
    throw cause;
  }
  return made;
}

/**
 * Makes a cgroup in every hierarchy that has its parent, but never the parent. Not an error when it exists.
 * On v1 no process can enter it: `cpuset` is not initialized. False when no hierarchy has the parent.
 */
export async function createEmptyCgroup(layout: CgroupLayout, path: string): Promise<boolean> {
  let exists = false;
  for (const dir of cgroupDirs(layout, path)) {
    try {
      await mkdir(dir, 0o755);
      exists = true;
    } catch (cause) {
      const code = errnoCode(cause);
      if (code === "EEXIST") exists = true;
      else if (code !== "ENOENT") throw systemError(`create cgroup "${dir}"`, cause);
    }
  }
  return exists;
}

/**
 * Removes a cgroup that has neither processes nor other cgroups in it; one that has cgroups, also new
 * ones, stays. Rejects with `failed-precondition` when processes are in it.
 */
export async function removeEmptyCgroup(layout: CgroupLayout, path: string): Promise<void> {
  await removeCgroupDirs(cgroupDirs(layout, path));
}

/**
 * Removes the directories that `createCgroup` made, last first. A directory that contains other cgroups by now
 * stays; one that does not exist is skipped. Rejects with `failed-precondition` when processes are in one.
 */
export async function removeCgroupDirs(dirs: readonly string[]): Promise<void> {
  // Starts with all directories again: one that contained other cgroups may be empty now.
  await untilNoneIsBusy(() => removeCgroups(dirs.toReversed(), { withInner: false }));
}

/**
 * Removes a cgroup and those in it from every hierarchy; does nothing when it does not exist. Rejects with
 * `failed-precondition` when processes are in it: call `killCgroup` first.
 */
export async function removeCgroup(layout: CgroupLayout, path: string): Promise<void> {
  let dirs = cgroupDirs(layout, path);
  await untilNoneIsBusy(async () => {
    const busy = await removeCgroups(dirs, { withInner: true });
    dirs = dirs.filter((_, index) => busy[index] !== undefined);
    return busy;
  });
}

/** The names of the cgroups directly in this one, in any hierarchy; none when it does not exist. */
export async function cgroupsIn(layout: CgroupLayout, path: string): Promise<readonly string[]> {
  return [...new Set(await listCgroups(cgroupDirs(layout, path)))];
}

async function createLevels(
  layout: CgroupLayout,
  hierarchy: CgroupHierarchy,
  parts: readonly string[],
  made: string[],
): Promise<void> {
  // All directories first: one with another in it is not removed as empty.
  const levels = parts.map((_, at) => [hierarchy.path, ...parts.slice(0, at + 1)].join("/"));
  for (const dir of levels) {
    try {
      await mkdir(dir, 0o755);
      if (!made.includes(dir)) made.push(dir);
    } catch (cause) {
      if (errnoCode(cause) !== "EEXIST") throw systemError(`create cgroup "${dir}"`, cause);
    }
  }
  let parent = hierarchy.path;
  for (const dir of levels) {
    if (layout.version === "v2") await enableControllers(parent);
    if (hierarchy.controllers.includes("cpuset") && layout.version === "v1") {
      await inheritCpuset(parent, dir, "cpuset.cpus");
      await inheritCpuset(parent, dir, "cpuset.mems");
    }
    parent = dir;
  }
}

/** Makes the levels again while one that was there is gone at the next step. */
async function untilNoneIsTaken(make: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await make();
      return;
    } catch (cause) {
      // ENODEV comes from a file of a cgroup that was removed when it was open already.
      const isGone = ["ENOENT", "ENODEV"].includes(errnoCode(cause) ?? "");
      if (!isGone || attempt === mostAttempts) throw cause;
      // Random pauses: the other process may remove it at the same point of each attempt.
      if (attempt % 4 === 0) await delay(Math.random() * maxPauseMs);
    }
  }
}

async function inheritCpuset(parent: string, dir: string, file: string): Promise<void> {
  if ((await readCgroupFile(`${dir}/${file}`)) !== "") return;
  await writeCgroupFile(`${dir}/${file}`, await readCgroupFile(`${parent}/${file}`));
}

/**
 * Enables the controllers that are not enabled yet. EBUSY means that processes are directly in `dir`, which v2 does
 * not allow together with cgroups that have controllers ("no internal processes", cgroups(7)). It becomes
 * `failed-precondition`.
 */
async function enableControllers(dir: string): Promise<void> {
  const available = (await readCgroupFile(`${dir}/cgroup.controllers`)).split(" ");
  const enabled = (await readCgroupFile(`${dir}/cgroup.subtree_control`)).split(" ");
  const missing = wantedControllers.filter((c) => available.includes(c) && !enabled.includes(c));
  if (missing.length === 0) return;
  try {
    await writeCgroupFile(`${dir}/cgroup.subtree_control`, missing.map((c) => `+${c}`).join(" "));
  } catch (cause) {
    if (errnoCode(cause) !== "EBUSY") throw cause;
    throw new RuntimeError(
      "failed-precondition",
      `enable ${missing.join(", ")} for the children of cgroup "${dir}": processes are in the cgroup itself, and ` +
        "v2 does not allow both; move them into a cgroup of their own, or name another cgroup_parent",
      { cause },
    );
  }
}

/** Calls `remove` until no cgroup is busy, but not after one has been busy for too long. */
async function untilNoneIsBusy(
  remove: () => Promise<readonly (string | undefined)[]>,
): Promise<void> {
  const since = new Map<string, number>();
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const busy = (await remove()).filter((dir) => dir !== undefined);
    if (busy.length === 0) return;
    const now = performance.now();
    for (const dir of busy) {
      const first = since.get(dir) ?? now;
      since.set(dir, first);
      if (now - first > busyTimeoutMs) throw new SystemError(`remove cgroup "${dir}"`, "EBUSY");
    }
    await delay(waitMs);
  }
}
