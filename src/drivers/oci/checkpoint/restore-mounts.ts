import { join } from "node:path";

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
