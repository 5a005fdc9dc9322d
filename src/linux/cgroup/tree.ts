import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../system-error.ts";
import {
  type CgroupHierarchy,
  type CgroupLayout,
  cgroupDirs,
  cgroupParts,
  hierarchiesOf,
} from "./layout.ts";

/** What containers are limited by. Other controllers are left as the host has them. */
const wantedControllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/** A cgroup is busy for a moment after its last process died; this is far longer than that. */
const busyPatienceMs = 1000;

/**
 * Makes a cgroup in every hierarchy, with the cgroups on the way to it, ready for processes: on v1
 * an empty `cpuset.cpus` or `cpuset.mems` is filled from the level above (a process cannot enter
 * else: cpuset(7)), on v2 the levels above get the available controllers enabled for it.
 *
 * Returns the folders that were not there before, in the order in which they were made, for
 * `removeCgroupDirs`. When it rejects, those are removed again.
 */
export async function createCgroup(layout: CgroupLayout, path: string): Promise<readonly string[]> {
  const parts = cgroupParts(path);
  const made: string[] = [];
  try {
    for (const hierarchy of hierarchiesOf(layout)) {
      await createLevels(layout, hierarchy, parts, made);
    }
  } catch (cause) {
    await removeCgroupDirs(made).catch(() => undefined); // the first failure is the one to tell
    throw cause;
  }
  return made;
}

/**
 * Removes the folders that `createCgroup` made, last first. One that has other cgroups in it by now
 * is somebody's parent and stays; one that is gone is done. Rejects with `failed-precondition` for
 * one that processes are in.
 */
export async function removeCgroupDirs(dirs: readonly string[]): Promise<void> {
  for (const dir of dirs.toReversed()) {
    if ((await childDirs(dir)).length === 0) await removeDir(dir);
  }
}

/**
 * Removes a cgroup and those in it from every hierarchy; done when it is not there. Rejects with
 * `failed-precondition` when processes are in it: `killCgroup` comes first.
 */
export async function removeCgroup(layout: CgroupLayout, path: string): Promise<void> {
  await Promise.all(cgroupDirs(layout, path).map(removeTree));
}

/** The names of the cgroups directly in this one; none when it is gone. */
export async function childDirs(dir: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return [];
    throw systemError(`list cgroup "${dir}"`, cause);
  }
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
      made.push(dir);
    } catch (cause) {
      if (errnoCode(cause) !== "EEXIST") throw systemError(`create cgroup "${dir}"`, cause);
    }
    if (hierarchy.controllers.includes("cpuset") && layout.version === "v1") {
      await inheritCpuset(parent, dir, "cpuset.cpus");
      await inheritCpuset(parent, dir, "cpuset.mems");
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

async function removeTree(dir: string): Promise<void> {
  for (const child of await childDirs(dir)) await removeTree(`${dir}/${child}`);
  await removeDir(dir);
}

async function removeDir(dir: string): Promise<void> {
  const deadline = performance.now() + busyPatienceMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    try {
      await rmdir(dir);
      return;
    } catch (cause) {
      const code = errnoCode(cause);
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || performance.now() > deadline) {
        throw systemError(`remove cgroup "${dir}"`, cause);
      }
    }
    await delay(waitMs);
  }
}

/** The content of a cgroup file without its last newline. */
export async function readCgroupFile(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}

/** Writes a cgroup file that is there; the kernel takes one value a write(2). */
export async function writeCgroupFile(path: string, value: string): Promise<void> {
  try {
    // "r+": a missing file means a missing controller, and must not be created on a fake tree.
    await writeFile(path, value, { flag: "r+" });
  } catch (cause) {
    throw systemError(`write "${value}" to "${path}"`, cause);
  }
}

/**
 * Writes back what `readCgroupFile` read.
 *
 * NOTE(kernel): a cpuset that was empty on v2, which stands for all that the level above has, cannot
 * be made empty again while processes are in the cgroup (ENOSPC; validate_change() in
 * kernel/cgroup/cpuset.c). Then it gets what the level above has now, which is the same for them.
 */
export async function restoreCgroupFile(path: string, value: string): Promise<void> {
  try {
    // Nothing at all would not be written: an empty cpuset is a newline.
    await writeCgroupFile(path, value === "" ? "\n" : value);
  } catch (cause) {
    const name = basename(path);
    if (value !== "" || errnoCode(cause) !== "ENOSPC" || !/^cpuset\.(cpus|mems)$/.test(name)) {
      throw cause;
    }
    const above = await readCgroupFile(join(dirname(dirname(path)), `${name}.effective`));
    await writeCgroupFile(path, above);
  }
}
