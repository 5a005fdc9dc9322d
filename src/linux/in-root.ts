import { RuntimeError } from "../base/errors.ts";
import { nativeCount, nativeJob, nativeTexts } from "./native.ts";

/**
 * Reads text files of a root file system in one job on a thread of the pool, with symbolic links followed
 * by the kernel as a process inside would: they never lead out of it. Undefined for a path that leads to
 * nothing, as one that loops does. What is no UTF-8 becomes U+FFFD.
 *
 * `invalid-argument`, of the first in the order of `paths`, for something else than a file, which is not
 * even opened, and for one larger than `maxBytes`.
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
      throw new RuntimeError("invalid-argument", `read "${path}" in "${root}": ${why}`);
    }
    return texts[2 * index] ?? undefined;
  }) as { readonly [index in keyof Paths]: string | undefined };
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
