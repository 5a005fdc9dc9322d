import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { nativeTexts } from "../native.ts";
import { errnoCode, SystemError, systemError } from "../../base/system-error.ts";
import { readCgroupFile, writeCgroupFile } from "./files.ts";
import {
  type CgroupHierarchy,
  type CgroupLayout,
  cgroupDirs,
  cgroupParts,
  hierarchiesOf,
} from "./layout.ts";

/** What containers are limited by. Other controllers are left as the host has them. */
const wantedControllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/** How often a cgroup is made on a level that somebody else takes away at the same time. */
const mostAttempts = 100;

/** A cgroup is busy for a moment after its last process died; this is far longer than that. */
const busyPatienceMs = 1000;

/**
 * Makes a cgroup in every hierarchy, with the cgroups on the way to it, ready for processes: on v1
 * an empty `cpuset.cpus` or `cpuset.mems` is filled from the level above (a process cannot enter
 * else: cpuset(7)), on v2 the levels above get the available controllers enabled for it.
 *
 * A level that somebody else removes meanwhile, since it was empty, is made again.
 *
 * Returns the directories that were not there before, in the order in which they were made, for
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
    await removeCgroupDirs(made).catch(() => undefined); // the first failure is the one to tell
    throw cause;
  }
  return made;
}

/**
 * Removes a cgroup that has neither processes nor other cgroups in it; one that has cgroups stays, as
 * does one that gets one meanwhile. Rejects with `failed-precondition` when processes are in it.
 */
export async function removeEmptyCgroup(layout: CgroupLayout, path: string): Promise<void> {
  await removeCgroupDirs(cgroupDirs(layout, path));
}

/**
 * Removes the directories that `createCgroup` made, last first. One that has other cgroups in it by now
 * is somebody's parent and stays; one that is gone is done. Rejects with `failed-precondition` for
 * one that processes are in.
 */
export async function removeCgroupDirs(dirs: readonly string[]): Promise<void> {
  // Again from the start: one that stayed for what was in it may be empty now.
  await untilNoneIsBusy(async () => removeNow(dirs.toReversed(), { withInner: false }));
}

/**
 * Removes a cgroup and those in it from every hierarchy; done when it is not there. Rejects with
 * `failed-precondition` when processes are in it: `killCgroup` comes first.
 */
export async function removeCgroup(layout: CgroupLayout, path: string): Promise<void> {
  let dirs = cgroupDirs(layout, path);
  await untilNoneIsBusy(async () => {
    const busy = await removeNow(dirs, { withInner: true });
    dirs = dirs.filter((_, index) => busy[index] !== undefined);
    return busy;
  });
}

/** The names of the cgroups directly in this one, in whichever hierarchy; none when it is gone. */
export async function cgroupsIn(layout: CgroupLayout, path: string): Promise<readonly string[]> {
  const [names = null] = await nativeTexts("listCgroups", cgroupDirs(layout, path));
  return [
    ...new Set(
      utf8Of(names)
        .split("\n")
        .filter((name) => name !== ""),
    ),
  ];
}

async function createLevels(
  layout: CgroupLayout,
  hierarchy: CgroupHierarchy,
  parts: readonly string[],
  made: string[],
): Promise<void> {
  let dir = hierarchy.path;
  for (const part of parts) {
    const parent = dir;
    if (layout.version === "v2") await enableControllers(parent);
    dir = `${parent}/${part}`;
    try {
      await mkdir(dir, 0o755);
      if (!made.includes(dir)) made.push(dir);
    } catch (cause) {
      if (errnoCode(cause) !== "EEXIST") throw systemError(`create cgroup "${dir}"`, cause);
    }
    if (hierarchy.controllers.includes("cpuset") && layout.version === "v1") {
      await inheritCpuset(parent, dir, "cpuset.cpus");
      await inheritCpuset(parent, dir, "cpuset.mems");
    }
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
    }
  }
}

async function inheritCpuset(parent: string, dir: string, file: string): Promise<void> {
  if ((await readCgroupFile(`${dir}/${file}`)) !== "") return;
  await writeCgroupFile(`${dir}/${file}`, await readCgroupFile(`${parent}/${file}`));
}

/**
 * Only what is missing is written. EBUSY says that processes are directly in `dir`, which v2 does
 * not allow beside cgroups with controllers ("no internal processes", cgroups(7)): it becomes
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
      `hand on ${missing.join(", ")} of cgroup "${dir}": it has processes itself, and v2 allows ` +
        "either; move them into a cgroup of their own, or name another cgroup_parent",
      { cause },
    );
  }
}

/**
 * Removes each of these directories, in one job; done when one is not there. Answers for each with the
 * cgroup, it or one in it, that is busy. Rejects when one cannot be removed for another reason, when
 * all others are.
 */
async function removeNow(
  dirs: readonly string[],
  options: { readonly withInner: boolean },
): Promise<readonly (string | undefined)[]> {
  const busy = await nativeTexts("removeCgroups", dirs, [options.withInner ? 1 : 0]);
  return busy.map((dir) => (dir === null ? undefined : utf8Of(dir)));
}

/** Removes again what is busy, as long as no cgroup has been for too long. */
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
      if (now - first > busyPatienceMs) throw new SystemError(`remove cgroup "${dir}"`, "EBUSY");
    }
    await delay(waitMs);
  }
}

/** A job's texts have one byte a character. */
function utf8Of(text: string | null): string {
  return Buffer.from(text ?? "", "latin1").toString("utf8");
}
