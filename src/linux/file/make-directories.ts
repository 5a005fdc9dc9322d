import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoCode } from "../../base/system-error.ts";

/**
 * Makes a directory that a client names, and its parents, with mode 0755. What exists there already is left as it is,
 * also if it is not a directory. Rejects with the error of mkdir(2); parents that were made stay.
 *
 * The recursive mkdir() of Node.js 24 is not for such paths: where the parent exists and mkdir(2) fails with ENOENT, as in
 * /proc, it repeats that forever and never gives its thread back.
 */
export async function makeDirectories(path: string): Promise<void> {
  try {
    await makeDirectory(path);
  } catch (error) {
    const parent = dirname(path);
    if (errnoCode(error) !== "ENOENT" || parent === path) throw error;
    await makeDirectories(parent);
    await makeDirectory(path);
  }
}

/** Makes one directory if nothing exists at its path. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, 0o755);
  } catch (error) {
    if (errnoCode(error) !== "EEXIST") throw error;
  }
}
