import type { StatsFs } from "node:fs";
import { statfs } from "node:fs/promises";

import { RuntimeError } from "../../base/errors.ts";

/** The fields of statfs(2) that are used. `files` is 0 on a file system without a table of inodes (btrfs). */
export type DiskSpace = Pick<StatsFs, "bsize" | "blocks" | "bavail" | "files" | "ffree">;

const MIB = 2 ** 20;
/** One part in 20 of the file system stays free, but no more than this. */
const KEEP_PART = 20;
const KEEP_BYTES_MOST = 1024 * MIB;
const KEEP_FILES_MOST = 50_000;
/** The most that is written between two checks: this much, and this part of the available space. */
const STEP_BYTES_MOST = 64 * MIB;
const STEP_FILES_MOST = 4096;
const STEP_PART = 1024;
/** More writers than run at once. Each may use at most this part of the available space before the next check. */
const WRITERS = 8;

/**
 * Keeps a part of a file system free while several processes fill it: 5 % of its bytes and inodes,
 * at most 1 GiB and 50,000 inodes. The writers share only the file system itself. Each checks
 * it again after using a small part of the space that it saw, so that it notices what the others write.
 */
export class DiskHeadroom {
  readonly #name: string;
  #bytes = 0;
  #files = 0;

  /** `name` is a directory on the file system, for messages. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Whether this much may be written without another check. If not, `update` decides. */
  spend(bytes: number, files: number): boolean {
    if (bytes > this.#bytes || files > this.#files) return false;
    this.#bytes -= bytes;
    this.#files -= files;
    return true;
  }

  /** Like `spend`, with a check of the file system of `path` when one is due. */
  async reserve(path: string, bytes: number, files: number): Promise<void> {
    if (!this.spend(bytes, files)) this.update(await statfs(path), bytes, files);
  }

  /** Updates the state of the disk. `resource-exhausted` if this much may not be written. */
  update(space: DiskSpace, bytes: number, files: number): void {
    const { bsize, blocks, bavail, ffree } = space;
    const keepBytes = Math.min(KEEP_BYTES_MOST, Math.floor((blocks * bsize) / KEEP_PART));
    const roomBytes = bavail * bsize - keepBytes;
    if (bytes > roomBytes / WRITERS) {
      throw this.#refusal(
        `${mib(bavail * bsize)} free, of which ${mib(keepBytes)} must stay free`,
        'remove images that nobody uses ("davit rmi --unused"), or free space on it',
      );
    }
    const keepFiles = Math.min(KEEP_FILES_MOST, Math.floor(space.files / KEEP_PART));
    const roomFiles = space.files === 0 ? Number.POSITIVE_INFINITY : ffree - keepFiles;
    if (files > roomFiles / WRITERS) {
      throw this.#refusal(
        `${ffree} inodes free, of which ${keepFiles} must stay free: it is out of inodes, not of bytes`,
        'remove images that nobody uses ("davit rmi --unused"), or files on it ("df -i")',
      );
    }
    this.#bytes = Math.max(0, Math.min(STEP_BYTES_MOST, roomBytes / STEP_PART) - bytes);
    this.#files = Math.max(0, Math.min(STEP_FILES_MOST, roomFiles / STEP_PART) - files);
  }

  #refusal(has: string, advice: string): RuntimeError {
    const text = `the file system of "${this.#name}" has ${has}: ${advice}`;
    return new RuntimeError("resource-exhausted", text);
  }
}

/** Why the kernel may have reported ENOSPC or EDQUOT and what to do, as the end of a message. */
export function describeFullDisk(name: string, { files, ffree }: DiskSpace): string {
  const what = files > 0 && ffree === 0 ? "has no inodes left (it may have bytes left)" : "is full";
  return `the file system of "${name}" ${what}: remove images that nobody uses ("davit rmi --unused"), or files on it`;
}

function mib(bytes: number): string {
  return `${Math.floor(bytes / MIB)} MiB`;
}
