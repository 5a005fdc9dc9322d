import { constants } from "node:fs";
import { copyFile, open, readlink, symlink } from "node:fs/promises";
import { copyAttributes, deviceNumbers, makeNode, setAttributes } from "../../linux/file/index.ts";
import type { DiskHeadroom } from "../../linux/host/index.ts";
import type { LowerFile } from "./lower-files.ts";

const { COPYFILE_EXCL, O_NOFOLLOW, O_RDONLY } = constants;

/**
 * Copies a file of a layer that is an image, to which no hard link can lead: content, owner, permissions, times, and
 * the extended attributes of a regular file. EEXIST when something is at `to`. `resource-exhausted` before the disk
 * is full.
 */
export async function copyLower(
  { path, info }: LowerFile,
  to: Buffer,
  room: DiskHeadroom,
  disk: string,
): Promise<void> {
  await room.reserve(disk, info.size + 4096, 1);
  if (info.isFile()) {
    await copyFile(path, to, COPYFILE_EXCL);
    await using source = await open(path, O_RDONLY | O_NOFOLLOW);
    await using copy = await open(to, O_RDONLY | O_NOFOLLOW);
    await copyAttributes(source.fd, copy.fd);
    return;
  }
  const name = to.toString("latin1");
  const { uid, gid } = info;
  const time = {
    seconds: Math.floor(info.mtimeMs / 1000),
    nanoseconds: nanosecondsOf(info.mtimeMs),
  };
  if (info.isSymbolicLink()) {
    await symlink(await readlink(path, "buffer"), to);
    setAttributes(name, { uid, gid, mode: undefined, time });
    return;
  }
  makeNode(name, info.mode, deviceNumbers(info.rdev));
  setAttributes(name, { uid, gid, mode: info.mode & 0o7777, time });
}

/** A double has microseconds of today's times. */
function nanosecondsOf(milliseconds: number): number {
  return Math.round((milliseconds - Math.floor(milliseconds / 1000) * 1000) * 1000) * 1000;
}
