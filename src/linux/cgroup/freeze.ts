import { findCgroupFile, tryWriteCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";

/** Whether a cgroup is frozen, by itself or on v1 from above; undefined when it is not there. */
export async function isFrozen(layout: CgroupLayout, path: string): Promise<boolean | undefined> {
  const { file, runs } = freezerOf(layout, path);
  const state = await findCgroupFile(file);
  return state === undefined ? undefined : state !== runs;
}

/**
 * Lets the processes of a cgroup go on that somebody froze; those below that were frozen by themselves,
 * and those whose parent is frozen, stay. Done when it is not there.
 */
export async function thawCgroup(layout: CgroupLayout, path: string): Promise<void> {
  const { file, runs } = freezerOf(layout, path);
  await tryWriteCgroupFile(file, runs);
}

/** cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze. */
function freezerOf(layout: CgroupLayout, path: string): { file: string; runs: string } {
  if (layout.version === "v2") {
    return { file: `${cgroupDirs(layout, path)[0] ?? ""}/cgroup.freeze`, runs: "0" };
  }
  const dir = controllerDir(layout, "freezer", path) ?? "/nonexistent";
  return { file: `${dir}/freezer.state`, runs: "THAWED" };
}
