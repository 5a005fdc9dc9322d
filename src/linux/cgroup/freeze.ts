import { findCgroupFile, tryWriteCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";

/** Whether a cgroup is frozen, on v1 also by a parent; undefined when it does not exist. */
export async function isFrozen(layout: CgroupLayout, path: string): Promise<boolean | undefined> {
  const { file, thawed } = freezerOf(layout, path);
  const state = await findCgroupFile(file);
  return state === undefined ? undefined : state !== thawed;
}

/**
 * Thaws a cgroup. Cgroups below it that are frozen by themselves stay frozen, and so does a cgroup with a frozen
 * parent. Does nothing when the cgroup does not exist.
 */
export async function thawCgroup(layout: CgroupLayout, path: string): Promise<void> {
  const { file, thawed } = freezerOf(layout, path);
  await tryWriteCgroupFile(file, thawed);
}

/** cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze. */
function freezerOf(layout: CgroupLayout, path: string): { file: string; thawed: string } {
  if (layout.version === "v2") {
    return { file: `${cgroupDirs(layout, path)[0] ?? ""}/cgroup.freeze`, thawed: "0" };
  }
  const dir = controllerDir(layout, "freezer", path) ?? "/nonexistent";
  return { file: `${dir}/freezer.state`, thawed: "THAWED" };
}
