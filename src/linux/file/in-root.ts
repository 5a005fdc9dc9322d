import { readlink } from "node:fs/promises";
import { posix } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import { errnoCode } from "../../base/system-error.ts";
import { readInRoot } from "./native.ts";

/**
 * Reads text files of a root file system in one job on a thread of the pool. The kernel follows symbolic links as
 * for a process inside the root: they never lead out of it. Undefined for a path that leads to
 * nothing, and for a loop of links. Bytes that are not UTF-8 become U+FFFD.
 *
 * `invalid-argument`, for the first in the order of `paths`, when a path leads to something other than a file, which is
 * not opened, or to a file larger than `maxBytes`. The message does not contain the path of the root, because every
 * reader of the pod's events sees it.
 */
export async function readFilesInRoot<const Paths extends readonly string[]>(
  root: string,
  paths: Paths,
  maxBytes: number,
): Promise<{ readonly [index in keyof Paths]: string | undefined }> {
  const files = await readInRoot(root, paths, maxBytes);
  return files.map(({ text, refusal }, index) => {
    if (refusal === undefined) return text;
    const path = paths[index] ?? "";
    throw new RuntimeError(
      "invalid-argument",
      `read ${quote(path)} in the container's root: ${refusal}`,
    );
  }) as { readonly [index in keyof Paths]: string | undefined };
}

// MAXSYMLINKS, include/linux/namei.h; PATH_MAX.
const maxLinks = 40;
const maxPath = 4096;

/**
 * Where `path` leads in `root` for a process inside: the same path without symbolic links, relative
 * to the root. Names that do not exist stay as they are. `failed-precondition` after as many
 * links as the kernel follows, `invalid-argument` for a path or name that is too long for it.
 *
 * It looks up one name of the path after the other, so it is only for a root in which no process runs.
 */
export async function pathInRoot(root: string, path: string): Promise<string> {
  if (path.length >= maxPath) throw tooLong(path);
  let resolved = "/";
  let links = 0;
  const parts = path.split("/");
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const next = posix.join(resolved, part);
    const target = part === ".." ? undefined : await linkTarget(posix.join(root, next), path);
    if (target === undefined) {
      resolved = next;
      continue;
    }
    links += 1;
    if (links > maxLinks) {
      throw new RuntimeError(
        "failed-precondition",
        `find ${quote(path)} in the container's root: more than ${maxLinks} symbolic links`,
      );
    }
    if (target.startsWith("/")) resolved = "/";
    parts.unshift(...target.split("/"));
  }
  return resolved;
}

async function linkTarget(at: string, path: string): Promise<string | undefined> {
  try {
    return await readlink(at);
  } catch (error) {
    const code = errnoCode(error) ?? "";
    // EINVAL: it exists and is not a link, readlink(2).
    if (["EINVAL", "ENOENT", "ENOTDIR"].includes(code)) return undefined;
    if (code === "ENAMETOOLONG") throw tooLong(path);
    throw error;
  }
}

function tooLong(path: string): RuntimeError {
  const why = "it is too long, or one of its names is";
  return new RuntimeError(
    "invalid-argument",
    `find ${quote(path)} in the container's root: ${why}`,
  );
}
