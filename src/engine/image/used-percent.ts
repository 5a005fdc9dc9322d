import type { FileSystemSpace } from "../../core/snapshot/index.ts";

/** How much of a file system is in use, of its bytes or of its inodes, whichever is more. Percent, 0 to 100. */
export function usedPercent(space: FileSystemSpace): number {
  const { totalBytes, freeBytes, totalInodes, freeInodes } = space;
  return Math.max(percent(totalBytes, freeBytes), percent(totalInodes, freeInodes));
}

/** A file system without a table of inodes (btrfs) has 0 of them. */
function percent(total: number, free: number): number {
  return total === 0 ? 0 : Math.round(1000 * (1 - free / total)) / 10;
}
