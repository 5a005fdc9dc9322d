import { readdir } from "node:fs/promises";
import { basename } from "node:path";

import { errnoCode, systemError } from "../../base/system-error.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";
import { readCgroupFile, restoreCgroupFile } from "./files.ts";

/** The v1 files of the limits in CRI resources, by controller. */
const legacyFiles: readonly (readonly [controller: string, file: RegExp])[] = [
  ["cpu", /^cpu\.(shares|cfs_period_us|cfs_quota_us)$/],
  ["cpuset", /^cpuset\.(cpus|mems)$/],
  ["memory", /^memory\.(memsw\.)?limit_in_bytes$/],
  ["hugetlb", /^hugetlb\.[^.]+\.limit_in_bytes$/],
];

const unifiedFiles =
  /^(cpu\.weight|cpu\.max|cpuset\.(cpus|mems)|memory\.max|memory\.swap\.max|hugetlb\.[^.]+\.max)$/;

/**
 * Reads the limits of a cgroup before another program changes them, and also the v2 files named in `others`.
 * The result restores the values that have changed since; it does nothing when the cgroup was removed.
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
      // A write-only file, such as memory.reclaim, has no value to restore.
      const value = await readCgroupFile(file).catch(() => undefined);
      if (value !== undefined) before.set(file, value);
    }),
  );
  return async () => {
    // The kernel checks some limits against each other (memory and memsw, quota and period). A value that it
    // refuses at first may be accepted after the other one is restored.
    const refused = await writeBack([...before]);
    const failures = await writeBack(refused.map(({ file }) => file));
    if (failures[0] !== undefined) throw failures[0].error;
  };
}

/** "No limit" in files with a line for each device or resource (cgroup-v2.rst). */
const unlimited: ReadonlyMap<string, string> = new Map([
  ["io.max", "rbps=max wbps=max riops=max wiops=max"],
  ["io.latency", "target=0"],
  ["io.weight", "default"],
  ["io.bfq.weight", "default"],
  ["rdma.max", "hca_handle=max hca_object=max"],
  ["misc.max", "max"],
]);

/**
 * The texts to write, in order, that restore the former content of a file. A file with a line
 * for each device accepts one line at a time, and has no line for a device without a limit.
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
