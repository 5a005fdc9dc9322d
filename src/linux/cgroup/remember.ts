import { readdir } from "node:fs/promises";
import { basename } from "node:path";

import { errnoCode, systemError } from "../../base/system-error.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";
import { readCgroupFile, restoreCgroupFile } from "./files.ts";

/** The limits that CRI resources are about, by the v1 controller that has them. */
const legacyFiles: readonly (readonly [controller: string, file: RegExp])[] = [
  ["cpu", /^cpu\.(shares|cfs_period_us|cfs_quota_us)$/],
  ["cpuset", /^cpuset\.(cpus|mems)$/],
  ["memory", /^memory\.(memsw\.)?limit_in_bytes$/],
  ["hugetlb", /^hugetlb\.[^.]+\.limit_in_bytes$/],
];

const unifiedFiles =
  /^(cpu\.weight|cpu\.max|cpuset\.(cpus|mems)|memory\.max|memory\.swap\.max|hugetlb\.[^.]+\.max)$/;

/**
 * Remembers the limits of a cgroup, whoever is about to write them; of v2's other files those that
 * are named. The result writes back what has changed since; of a cgroup that is gone, nothing.
 */
export async function rememberLimits(
  layout: CgroupLayout,
  path: string,
  others: readonly string[] = [],
): Promise<() => Promise<void>> {
  const files = await limitFiles(layout, path, others);
  const before = new Map<string, string>();
  await Promise.all(
    files.map(async (file) => {
      // A file that can only be written, as memory.reclaim, holds nothing to take back.
      const value = await readCgroupFile(file).catch(() => undefined);
      if (value !== undefined) before.set(file, value);
    }),
  );
  return async () => {
    // The kernel checks some limits against each other (memory and memsw, quota and period): what it
    // refuses at first may pass when the other one is back.
    const refused = await writeBack([...before]);
    const failures = await writeBack(refused.map(({ file }) => file));
    if (failures[0] !== undefined) throw failures[0].error;
  };
}

/** What the line of a device or resource says in files with a line for each, where it has no limit (cgroup-v2.rst). */
const unlimited: ReadonlyMap<string, string> = new Map([
  ["io.max", "rbps=max wbps=max riops=max wiops=max"],
  ["io.latency", "target=0"],
  ["io.weight", "default"],
  ["io.bfq.weight", "default"],
  ["rdma.max", "hca_handle=max hca_object=max"],
  ["misc.max", "max"],
]);

/**
 * What to write, one text after another, so that a file says what it did before. A file with a line
 * for each device takes one line at a time, and shows none for a device without a limit.
 */
export function textsToRestore(name: string, before: string, now: string): readonly string[] {
  if (before === now) return [];
  const none = unlimited.get(name);
  if (none === undefined) return [before];
  const linesOf = (text: string): readonly string[] =>
    text.split("\n").filter((line) => line.trim() !== "");
  const keyOf = (line: string): string => line.split(" ", 1)[0] ?? "";
  const [old, current] = [linesOf(before), linesOf(now)];
  const known = new Set(old.map(keyOf));
  const added = current.map(keyOf).filter((key) => !known.has(key));
  return [
    ...added.map((key) => `${key} ${none}`),
    ...old.filter((line) => !current.includes(line)),
  ];
}

type FileValue = readonly [file: string, value: string];

async function writeBack(
  files: readonly FileValue[],
): Promise<readonly { readonly file: FileValue; readonly error: unknown }[]> {
  const refused: { readonly file: FileValue; readonly error: unknown }[] = [];
  for (const [file, value] of files) {
    try {
      const now = await readCgroupFile(file);
      for (const text of textsToRestore(basename(file), value, now)) {
        await restoreCgroupFile(file, text);
      }
    } catch (error) {
      const code = errnoCode(error);
      if (code !== "ENOENT" && code !== "ENODEV") refused.push({ file: [file, value], error });
    }
  }
  return refused;
}

async function limitFiles(
  layout: CgroupLayout,
  path: string,
  others: readonly string[],
): Promise<readonly string[]> {
  if (layout.version === "v2") {
    const [dir = ""] = cgroupDirs(layout, path);
    return [...(await filesIn(dir, unifiedFiles)), ...others.map((name) => `${dir}/${name}`)];
  }
  const found = legacyFiles.map(async ([controller, wanted]) => {
    const dir = controllerDir(layout, controller, path);
    return dir === undefined ? [] : filesIn(dir, wanted);
  });
  return (await Promise.all(found)).flat();
}

async function filesIn(dir: string, wanted: RegExp): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter((name) => wanted.test(name)).map((name) => `${dir}/${name}`);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return [];
    throw systemError(`list cgroup "${dir}"`, cause);
  }
}
