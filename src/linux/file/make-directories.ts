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
  if (await isThere(path)) return;
  await makeDirectories(dirname(path));
  await mkdir(path, 0o755).catch(unlessThere);
}

/** Whether something exists at a path, or was just made there; not if its parent is missing. */
async function isThere(path: string): Promise<boolean> {
  try {
    await mkdir(path, 0o755);
    return true;
  } catch (error) {
    // The root always exists: there is no parent to make.
    if (errnoCode(error) === "ENOENT" && dirname(path) !== path) return false;
    unlessThere(error);
    return true;
  }
}

function unlessThere(error: unknown): void {
  if (errnoCode(error) !== "EEXIST") throw error;
}
