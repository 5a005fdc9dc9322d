import type { Stats } from "node:fs";
import { lstat, open, readlink } from "node:fs/promises";
import { constants } from "node:fs";
import { join } from "node:path";
import { RuntimeError } from "../base/errors.ts";
import { nativeCount, nativeJob } from "./native.ts";
import { errnoCode, systemError } from "./system-error.ts";

// Linux: MAXSYMLINKS, path_resolution(7).
const maxLinks = 40;

/**
 * Reads a text file of a root file system, with symbolic links followed as a process inside would:
 * they never lead out of it. Undefined when there is no such file.
 *
 * For roots that nothing runs in yet: between the walk and the opening nobody may change them.
 * `invalid-argument` for something else than a file, and for one larger than `maxBytes`.
 */
export async function readFileInRoot(
  root: string,
  path: string,
  maxBytes: number,
): Promise<string | undefined> {
  const found = await resolveInRoot(root, path);
  if (found === undefined) return undefined;
  if (!found.stats.isFile()) {
    throw new RuntimeError("invalid-argument", `read "${path}" in "${root}": it is not a file`);
  }
  // Not a fifo, so that the open cannot hang; not a link, so that it cannot lead elsewhere.
  const file = await open(
    found.path,
    constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  );
  try {
    const { size } = await file.stat();
    if (size > maxBytes) {
      throw new RuntimeError(
        "invalid-argument",
        `read "${path}" in "${root}": it has ${String(size)} bytes, at most ${String(maxBytes)} are read`,
      );
    }
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

/**
 * Mounts the folder at `path` in `root` on `target`, read-only and private, without what is mounted
 * below it. Symbolic links are followed as a process inside would, by the kernel alone (openat2,
 * RESOLVE_IN_ROOT). An empty path is the root itself. ENOENT, ENOTDIR and ELOOP mean that no folder is
 * there; when it rejects, nothing is mounted.
 */
export async function bindInRoot(root: string, path: string, target: string): Promise<void> {
  await nativeJob("bindInRoot", [root, path, target]);
}

/**
 * Copies what is in the folder at `path` in `root` to the empty folder `target`, with owners, modes,
 * times, extended attributes, hard links and device nodes, and gives `target` the folder's own.
 * `path` is found as by {@link bindInRoot}. False when nothing is there; ENOTDIR when it is no folder.
 * It can take long, and goes on when its caller has given up.
 */
export async function copyInRoot(root: string, path: string, target: string): Promise<boolean> {
  const [copied] = await nativeCount("copyInRoot", [root, path, target]);
  return copied === 1;
}

/** Where `path` leads inside `root`; undefined when it leads nowhere. */
async function resolveInRoot(
  root: string,
  path: string,
): Promise<{ readonly path: string; readonly stats: Stats } | undefined> {
  const left = path.split("/").filter((step) => step !== "" && step !== ".");
  let walked: string[] = [];
  let links = 0;
  let stats: Stats | undefined;
  for (let step = left.shift(); step !== undefined; step = left.shift()) {
    if (step === "..") {
      walked.pop();
      continue;
    }
    const here = join(root, ...walked, step);
    stats = await lstatOrNone(here);
    if (stats === undefined) return undefined;
    if (!stats.isSymbolicLink()) {
      walked.push(step);
      continue;
    }
    if (++links > maxLinks) return undefined;
    const target = await readlink(here);
    if (target.startsWith("/")) walked = [];
    left.unshift(...target.split("/").filter((part) => part !== "" && part !== "."));
  }
  const end = join(root, ...walked);
  stats = await lstatOrNone(end);
  return stats === undefined ? undefined : { path: end, stats };
}

async function lstatOrNone(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT" || errnoCode(cause) === "ENOTDIR") return undefined;
    throw systemError(`look at "${path}"`, cause);
  }
}
