import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import { errnoCode, errnoName, SystemError, systemError } from "../../base/system-error.ts";
import { readFiles } from "../file/native.ts";
import * as native from "./native.ts";

/** The content of a cgroup file without its last newline. */
export async function readCgroupFile(path: string): Promise<string> {
  const [text = null] = await readFiles([path]);
  if (text !== null) return text.trim();
  try {
    return (await readFile(path, "utf8")).trim(); // for the errno, or for a very long file
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}

/**
 * Like {@link readCgroupFile}; undefined when the file does not exist: the cgroup was removed, or the kernel
 * does not have the file.
 */
export async function findCgroupFile(path: string): Promise<string | undefined> {
  try {
    return await readCgroupFile(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause;
  }
}

/** Writes an existing cgroup file; the kernel accepts one value for each write(2). */
export async function writeCgroupFile(path: string, value: string): Promise<void> {
  const missing = await missingAtWrite(path, value);
  // A missing file means a missing controller. It is never created, not even in the fake tree of a test.
  if (missing !== undefined) throw new SystemError(`write "${value}" to "${path}"`, missing);
}

/** Like {@link writeCgroupFile}; false when the file does not exist: an old kernel, or the cgroup was removed. */
export async function tryWriteCgroupFile(path: string, value: string): Promise<boolean> {
  return (await missingAtWrite(path, value)) === undefined;
}

/** The errno when the file does not exist; undefined when it is written. */
async function missingAtWrite(path: string, value: string): Promise<string | undefined> {
  try {
    const missing = await native.writeCgroupFile(path, value);
    return missing === undefined ? undefined : errnoName(missing);
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === undefined) throw cause;
    throw new SystemError(`write "${value}" to "${path}"`, code, { cause });
  }
}

/**
 * Restores a value that `readCgroupFile` returned.
 *
 * NOTE(kernel): an empty cpuset on v2 means all CPUs of the parent. It cannot
 * be made empty again while processes are in the cgroup (ENOSPC; validate_change() in
 * kernel/cgroup/cpuset.c). Then it gets the effective value of the parent, which is the same for the processes.
 */
export async function restoreCgroupFile(path: string, value: string): Promise<void> {
  try {
    // An empty text would not be written; a newline makes a cpuset empty.
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

function isMissing(cause: unknown): boolean {
  const code = errnoCode(cause);
  return code === "ENOENT" || code === "ENODEV";
}
