import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** The daemon that uses a root or state directory. */
export interface DirectoryOwner {
  readonly pid: number;
  /** Empty if it is so old that it does not say it. */
  readonly version: string;
}

/**
 * The process that holds the lock of a directory, by its lock file and proc_locks(5); undefined if none does. After a
 * crash, another process may have the pid in the file, so a lock of that process on another file does not count. Takes
 * no lock itself, since a daemon that starts meanwhile would be refused.
 */
export function readOwner(directory: string): DirectoryOwner | undefined {
  const path = join(directory, "davit.lock");
  return ownerOf({
    text: readIfThere(path),
    inode: statSync(path, { bigint: true, throwIfNoEntry: false })?.ino,
    locks: readIfThere("/proc/locks"),
    isAlive: (pid) => existsSync(`/proc/${pid}`),
  });
}

/** As {@link readOwner}, from what was read: the lock file and its inode, and proc_locks(5). */
export function ownerOf(read: {
  readonly text: string;
  readonly inode: bigint | undefined;
  readonly locks: string;
  readonly isAlive: (pid: number) => boolean;
}): DirectoryOwner | undefined {
  const [first = "", version = ""] = read.text.split("\n");
  if (!/^\d{1,10}$/.test(first) || !read.isAlive(Number(first))) return undefined;
  // The device is not compared: stat(2) gives another one on btrfs and overlayfs.
  const entry = `FLOCK +ADVISORY +WRITE +${first} [0-9a-f]+:[0-9a-f]+:${String(read.inode)} `;
  return new RegExp(entry).test(read.locks) ? { pid: Number(first), version } : undefined;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
