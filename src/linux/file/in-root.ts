import { readlink } from "node:fs/promises";
import { posix } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { nativeCount, nativeJob, nativeTexts } from "../native.ts";
import { errnoCode } from "../../base/system-error.ts";

/**
 * Reads text files of a root file system in one job on a thread of the pool, with symbolic links followed
 * by the kernel as a process inside would: they never lead out of it. Undefined for a path that leads to
 * nothing, as one that loops does. What is no UTF-8 becomes U+FFFD.
 *
 * `invalid-argument`, of the first in the order of `paths`, for something else than a file, which is not
 * even opened, and for one larger than `maxBytes`. The message does not say where the root is: it reaches
 * whoever may see the pod's events.
 */
export async function readFilesInRoot<const Paths extends readonly string[]>(
  root: string,
  paths: Paths,
  maxBytes: number,
): Promise<{ readonly [index in keyof Paths]: string | undefined }> {
  const texts = await nativeTexts("readInRoot", [root, ...paths], [maxBytes]);
  return paths.map((path, index) => {
    const why = texts[2 * index + 1];
    if (typeof why === "string") {
      throw new RuntimeError("invalid-argument", `read "${path}" in the container's root: ${why}`);
    }
    return texts[2 * index] ?? undefined;
  }) as { readonly [index in keyof Paths]: string | undefined };
}

/**
 * Mounts the directory at `path` in `root` on `target`, read-only and private, without what is mounted
 * below it. Symbolic links are followed as a process inside would, by the kernel alone (openat2,
 * RESOLVE_IN_ROOT). An empty path is the root itself. ENOENT, ENOTDIR and ELOOP mean that no directory is
 * there; when it rejects, nothing is mounted.
 */
export async function bindInRoot(root: string, path: string, target: string): Promise<void> {
  await nativeJob("bindInRoot", [root, path, target]);
}

/**
 * Copies what is in the directory at `path` in `root` to the empty directory `target`, with owners, modes,
 * times, extended attributes, hard links and device nodes, and gives `target` the directory's own.
 * `path` is found as by {@link bindInRoot}. False when nothing is there; ENOTDIR when it is no directory.
 * It can take long, and goes on when its caller has given up.
 */
export async function copyInRoot(root: string, path: string, target: string): Promise<boolean> {
  const [copied] = await nativeCount("copyInRoot", [root, path, target]);
  return copied === 1;
}

// MAXSYMLINKS, include/linux/namei.h.
const maxLinks = 40;

/**
 * Where `path` leads in `root` for a process inside: the same path without symbolic links, counted
 * from the root. What does not exist stands as it is written. `failed-precondition` after as many
 * links as the kernel follows.
 *
 * It looks at one part of the path after the other, so only for a root in which nothing runs.
 */
export async function pathInRoot(root: string, path: string): Promise<string> {
  let place = "/";
  let links = 0;
  const parts = path.split("/");
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const next = posix.join(place, part);
    const target = part === ".." ? undefined : await linkTarget(posix.join(root, next));
    if (target === undefined) {
      place = next;
      continue;
    }
    links += 1;
    if (links > maxLinks) {
      throw new RuntimeError(
        "failed-precondition",
        `find "${path}" in the container's root: more than ${maxLinks} symbolic links`,
      );
    }
    if (target.startsWith("/")) place = "/";
    parts.unshift(...target.split("/"));
  }
  return place;
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    // EINVAL: it is there and no link, readlink(2).
    if (["EINVAL", "ENOENT", "ENOTDIR"].includes(errnoCode(error) ?? "")) return undefined;
    throw error;
  }
}
