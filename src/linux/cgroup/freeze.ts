import { findCgroupFile, tryWriteCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";

/** Whether a cgroup is frozen, by itself or on v1 from above; undefined when it is not there. */
export async function isFrozen(layout: CgroupLayout, path: string): Promise<boolean | undefined> {
  const { file, runs } = freezerOf(layout, path);
  const state = await findCgroupFile(file);
  return state === undefined ? undefined : state !== runs;
}

/** Stops the processes of a cgroup where they are, soon; false when it is not there, or no freezer. */
export async function freezeCgroup(layout: CgroupLayout, path: string): Promise<boolean> {
  const { file, stops } = freezerOf(layout, path);
  return tryWriteCgroupFile(file, stops);
}

/**
 * Lets the processes of a cgroup go on that somebody froze. Those below that were frozen by themselves
 * stay, unless `below` is given, and so do those whose parent is frozen. Done when it is not there.
 */
export async function thawCgroup(
  layout: CgroupLayout,
  path: string,
  options: { readonly below: boolean } = { below: false },
): Promise<void> {
  const { file, runs } = freezerOf(layout, path);
  await tryWriteCgroupFile(file, runs, options);
}

/** cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze. */
function freezerOf(
  layout: CgroupLayout,
  path: string,
): { readonly file: string; readonly runs: string; readonly stops: string } {
  if (layout.version === "v2") {
    const file = `${cgroupDirs(layout, path)[0] ?? ""}/cgroup.freeze`;
    return { file, runs: "0", stops: "1" };
  }
  const dir = controllerDir(layout, "freezer", path) ?? "/nonexistent";
  return { file: `${dir}/freezer.state`, runs: "THAWED", stops: "FROZEN" };
}
