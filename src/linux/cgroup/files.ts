import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import { nativeCount } from "../native.ts";
import { readFiles } from "../file/read-files.ts";
import { errnoCode, errnoName, SystemError, systemError } from "../../base/system-error.ts";

/** The content of a cgroup file without its last newline. */
export async function readCgroupFile(path: string): Promise<string> {
  const [text = null] = await readFiles([path]);
  if (text !== null) return text.trim();
  try {
    return (await readFile(path, "utf8")).trim(); // says why, or is very long
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}

/**
 * Like {@link readCgroupFile}; undefined when it is not there: a cgroup that is gone, a kernel that
 * does not have the file.
 */
export async function findCgroupFile(path: string): Promise<string | undefined> {
  try {
    return await readCgroupFile(path);
  } catch (cause) {
    if (isGone(cause)) return undefined;
    throw cause;
  }
}

/** Writes a cgroup file that is there; the kernel takes one value a write(2). */
export async function writeCgroupFile(path: string, value: string): Promise<void> {
  const missing = await missingAtWrite(path, value);
  // A missing file means a missing controller, and is not created on a fake tree either.
  if (missing !== undefined) throw new SystemError(`write "${value}" to "${path}"`, missing);
}

/** Like {@link writeCgroupFile}; false when it is not there: an old kernel, or the cgroup is gone. */
export async function tryWriteCgroupFile(path: string, value: string): Promise<boolean> {
  return (await missingAtWrite(path, value)) === undefined;
}

/** The errno of a file that is not there; undefined when it is written. */
async function missingAtWrite(path: string, value: string): Promise<string | undefined> {
  try {
    const [, missing = 0] = await nativeCount("writeCgroupFile", [path, value]);
    return missing === 0 ? undefined : errnoName(missing);
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === undefined) throw cause;
    throw new SystemError(`write "${value}" to "${path}"`, code, { cause });
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

function isGone(cause: unknown): boolean {
  const code = errnoCode(cause);
  return code === "ENOENT" || code === "ENODEV";
}
