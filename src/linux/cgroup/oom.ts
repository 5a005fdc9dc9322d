import { readFiles } from "../file/native.ts";
import { findCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, controllerDir, type LegacyCgroups } from "./layout.ts";
import { cgroupsIn } from "./tree.ts";

/**
 * How many processes in the cgroup or below it the kernel's OOM killer killed, because of the
 * cgroup's own limit or that of a parent. Undefined when the cgroup no longer exists, so ask before it is removed.
 */
export async function oomKills(
  layout: CgroupLayout,
  cgroupPath: string,
): Promise<number | undefined> {
  const text = await eventsOf(layout, cgroupPath);
  return text === undefined ? undefined : parseOomKills(text);
}

/** Like {@link oomKills}, but a kill of a whole group (memory.oom.group) counts only its processes. */
export async function countOomKilled(
  layout: CgroupLayout,
  cgroupPath: string,
): Promise<number | undefined> {
  const text = await eventsOf(layout, cgroupPath);
  if (text === undefined) return undefined;
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

async function eventsOf(layout: CgroupLayout, cgroupPath: string): Promise<string | undefined> {
  const path =
    layout.version === "v2" ? unifiedEvents(layout, cgroupPath) : legacyEvents(layout, cgroupPath);
  return path === undefined ? undefined : findCgroupFile(path);
}

/**
 * How many processes the OOM killer killed in `path` itself and in cgroups directly below it that no longer exist,
 * since `path` was made. The count of a cgroup includes those of removed cgroups below it.
 * Undefined on v1, which does not keep such a sum, and when `path` does not exist.
 */
export async function oomKillsOfGone(
  layout: CgroupLayout,
  path: string,
): Promise<number | undefined> {
  const [dir = ""] = cgroupDirs(layout, path);
  if (layout.version === "v1") return undefined;
  const below = await cgroupsIn(layout, path).catch(() => []);
  // The sum is read last, so that a cgroup that is removed between the reads does not count.
  const files = [...below.map((name) => `${dir}/${name}`), dir].map((of) => `${of}/memory.events`);
  const texts = await readFiles(files);
  const sum = texts.at(-1) ?? undefined;
  if (sum === undefined) return undefined;
  return texts
    .slice(0, -1)
    .reduce((rest, text) => rest - parseOomKills(text ?? ""), parseOomKills(sum));
}

/** The file that changes with each kill, and which poll(2) watches. Undefined on v1, which has none. */
export function oomEventsFile(layout: CgroupLayout, cgroupPath: string): string | undefined {
  return layout.version === "v2" ? unifiedEvents(layout, cgroupPath) : undefined;
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
