import { nativeCount, nativeJob } from "../native.ts";

/** What a tree of files takes. */
export interface TreeUsage {
  /** Space on the disk, as st_blocks counts it. */
  readonly bytes: bigint;
  /** Each once, however many hard links it has. */
  readonly inodes: bigint;
}

/** Entries that one job on a pool thread removes: 10 to 50 ms, so that others get a turn. */
const REMOVE_AT_ONCE = 5_000;

/**
 * Removes a file or a directory with everything in it, whatever its depth and its names. Follows no
 * symbolic link and enters no other mount. It takes no space on the disk. Done when nothing is
 * there.
 *
 * What cannot be removed is left, all else goes, and then it rejects with SystemError. Ends early
 * with the signal's reason, between two batches of entries.
 */
export async function removeTree(path: string, signal?: AbortSignal): Promise<void> {
  await removeTrees([path], signal);
}

/** The same for several, one after the other in one job: one that cannot be removed keeps those after it. */
export async function removeTrees(paths: readonly string[], signal?: AbortSignal): Promise<void> {
  for (;;) {
    signal?.throwIfAborted();
    const [more] = await nativeCount("removeTree", paths, [REMOVE_AT_ONCE]);
    if (more !== 1) return;
  }
}

/**
 * Space of a directory and of everything in it that is on the same mount, and of more directories of its file
 * system where they are there. It walks on a thread of the pool, 1 to 3 s for a million entries. Directories
 * more than 256 levels deep are counted without what is in them.
 */
export async function diskUsage(directory: string, ...more: readonly string[]): Promise<TreeUsage> {
  const [bytes = 0, inodes = 0] = await nativeCount("diskUsage", [directory, ...more]);
  return { bytes: BigInt(bytes), inodes: BigInt(inodes) };
}

/**
 * Gives a file, or a directory and everything in it that is on the same mount, an SELinux label, the
 * path itself last. What has it is not written again; symbolic links are labelled, not followed.
 * Nothing on a file system that keeps no labels. Rejects at the first that cannot be labelled.
 */
export async function relabel(path: string, label: string): Promise<void> {
  await nativeJob("relabel", [path, label]);
}

/**
 * Waits until everything that was written to the path's file system is on its disk (syncfs(2)),
 * others' files included. Rejects when some of it could not be written.
 */
export async function syncFileSystem(path: string): Promise<void> {
  await nativeJob("syncFileSystem", [path]);
}
