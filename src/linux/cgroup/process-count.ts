import { findCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, cgroupParts, controllerDir } from "./layout.ts";

/** A cgroup that limits its processes: `used` of at most `limit`, threads and those of cgroups below included. */
interface ProcessLimit {
  readonly path: string;
  readonly used: number;
  readonly limit: number;
}

/**
 * The nearest of a cgroup and the cgroups above it that has room for less than `needed` more processes (pids.current and
 * pids.max; Documentation/admin-guide/cgroup-v2, PID). Undefined if there is none, or the kernel does not count them.
 */
export async function findProcessLimit(
  layout: CgroupLayout,
  path: string,
  needed: number,
): Promise<ProcessLimit | undefined> {
  const parts = cgroupParts(path);
  for (let depth = parts.length; depth > 0; depth--) {
    const each = `/${parts.slice(0, depth).join("/")}`;
    const isV1 = layout.version === "v1";
    const dir = isV1 ? controllerDir(layout, "pids", each) : cgroupDirs(layout, each)[0];
    if (dir === undefined) return undefined;
    const [used, limit] = (
      await Promise.all([
        findCgroupFile(`${dir}/pids.current`),
        findCgroupFile(`${dir}/pids.max`), // "max" without one
      ])
    ).map((text) => Number.parseInt(text ?? "", 10));
    if (used !== undefined && limit !== undefined && used + needed > limit) {
      return { path: each, used, limit };
    }
  }
  return undefined;
}
