import { readFile } from "node:fs/promises";

import { errnoCode } from "../system-error.ts";
import { type CgroupLayout, cgroupDirs, controllerDir, type LegacyCgroups } from "./layout.ts";

/**
 * True when the kernel killed a process in the cgroup, or below it, for want of memory: of the
 * container's own limit or of one above. To be asked before the cgroup goes; undefined after.
 */
export async function ranOutOfMemory(
  layout: CgroupLayout,
  cgroupPath: string,
): Promise<boolean | undefined> {
  const path =
    layout.version === "v2" ? unifiedEvents(layout, cgroupPath) : legacyEvents(layout, cgroupPath);
  if (path === undefined) return undefined;
  try {
    return parseOomKills(await readFile(path, "latin1")) > 0;
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" || code === "ENODEV") return undefined;
    throw cause;
  }
}

function unifiedEvents(layout: CgroupLayout, cgroupPath: string): string | undefined {
  const dir = cgroupDirs(layout, cgroupPath)[0];
  return dir === undefined ? undefined : `${dir}/memory.events`;
}

function legacyEvents(layout: LegacyCgroups, cgroupPath: string): string | undefined {
  const dir = controllerDir(layout, "memory", cgroupPath);
  return dir === undefined ? undefined : `${dir}/memory.oom_control`;
}

/** The sum of the lines `oom_kill N` and `oom_group_kill N` (linux/Documentation, cgroup-v1/memory, cgroup-v2). */
export function parseOomKills(text: string): number {
  return [...text.matchAll(/^oom_(?:group_)?kill (\d+)$/gm)].reduce(
    (sum, match) => sum + Number(match[1]),
    0,
  );
}
