import * as native from "./native.ts";

/** The disk usage of a tree of files. */
export interface TreeUsage {
  /** Space on the disk, as st_blocks counts it. */
  readonly bytes: bigint;
  /** Each inode counts once, however many hard links it has. */
  readonly inodes: bigint;
}

/** Entries that one job on a pool thread removes: 10 to 50 ms, so that other jobs can run. */
const entriesPerJob = 5_000;

/**
 * Removes a file or a directory with everything in it, whatever its depth and its names. Follows no
 * symbolic link and enters no other mount. Needs no free space on the disk. Does nothing when nothing is
 * there.
 *
 * Entries that cannot be removed are left, all others are removed, and then it rejects with SystemError. Ends early
 * with the signal's reason, between two batches of entries.
 */
export async function removeTree(path: string, signal?: AbortSignal): Promise<void> {
  await removeTrees([path], signal);
}

/** Like removeTree(), for several trees in order. A tree that cannot be removed stops it: those after it stay. */
export async function removeTrees(paths: readonly string[], signal?: AbortSignal): Promise<void> {
  let hasMore = true;
  while (hasMore) {
    signal?.throwIfAborted();
    hasMore = await native.removeEntries(paths, entriesPerJob);
  }
}

/**
 * The disk usage of a directory with everything in it on the same mount, and of more directories on its file
 * system, which need not exist. Runs on a thread of the pool, 1 to 3 s for a million entries. The content of
 * directories more than 256 levels deep is not counted.
 */
export async function diskUsage(directory: string, ...more: readonly string[]): Promise<TreeUsage> {
  const { bytes, inodes } = await native.diskUsage(directory, more);
  return { bytes: BigInt(bytes), inodes: BigInt(inodes) };
}
