import { readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";

import { errnoCode } from "../../../base/system-error.ts";
import { unmount } from "../../../linux/mount/index.ts";
import type { StateLayout } from "../state-layout.ts";

/**
 * What is mounted only while a container is restored: its images, and its root, by crun in the bundle and by runc in
 * its own directory, which is left out if its path is not given.
 */
export function restoreMounts(
  paths: StateLayout,
  id: string,
  runtimePath?: string,
): readonly [string, ...string[]] {
  const root = "criu-root";
  return [
    join(paths.file(id, "restore"), "images"),
    join(paths.bundle(id), root),
    ...(runtimePath === undefined ? [] : [join(paths.runtimeRoot(runtimePath), id, root)]),
  ];
}

/**
 * Removes the directories that a CRIU that was ended has left where it worked: it mounts the cgroup hierarchies there
 * (.criu.cgyard.XXXXXX). Idempotent.
 */
export async function removeYards(directory: string): Promise<void> {
  const names = await readdir(directory).catch((cause: unknown): string[] => {
    if (errnoCode(cause) === "ENOENT") return [];
    throw cause;
  });
  for (const name of names.filter((each) => each.startsWith(".criu."))) {
    await unmount(join(directory, name));
    await rmdir(join(directory, name));
  }
}

/**
 * Removes the empty directory in /tmp in which a CRIU that was ended has mounted the container's root, in the mount
 * namespace of the container only. Its name is random, and in the log of that CRIU. Idempotent.
 */
export async function removeRootYards(log: string): Promise<void> {
  const text = await readFile(log, "latin1").catch(() => "");
  for (const path of new Set(text.match(/\/tmp\/\.criu\.mntns\.[A-Za-z0-9]{6}\b/g))) {
    // Not empty, or removed by CRIU.
    await rmdir(path).catch(() => undefined);
  }
}
