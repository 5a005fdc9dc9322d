import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

import { RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** Not in node:fs: the file is found and not opened, so no device and no FIFO notices (open(2)). */
const O_PATH = 0o10000000;

/**
 * Opens a file by a path whose last component others may have made. What is not a regular file is refused
 * (`failed-precondition`, told with `doing`) without being opened: that waits for a FIFO's other end, and a
 * device may act on it. Otherwise rejects with an error that has the errno's name.
 */
export async function openRegular(path: string, flags: number, doing: string): Promise<FileHandle> {
  return openFound(await open(path, O_PATH | O_NOFOLLOW), flags, doing);
}

/**
 * The text of a file that others than an administrator may have made, as network plugins make their
 * configurations. Links are followed; otherwise as {@link openRegular}.
 */
export async function readRegular(path: string, doing: string): Promise<string> {
  const found = await open(path, O_PATH);
  await using file = await openFound(found, O_RDONLY | O_NONBLOCK, doing);
  return await file.readFile("utf8");
}

/** Opens what was found, if it is a regular file. */
async function openFound(found: FileHandle, flags: number, doing: string): Promise<FileHandle> {
  try {
    const info = await found.stat();
    // The second opening is of what was looked at, whatever has the name by then.
    if (info.isFile()) return await open(`/proc/self/fd/${found.fd}`, flags);
    throw new RuntimeError("failed-precondition", `${doing}: it is ${kindOf(info)}, not a file`);
  } catch (cause) {
    // node:fs would name the descriptor.
    throw systemError(doing, cause);
  } finally {
    await found.close();
  }
}

function kindOf(info: {
  isSymbolicLink(): boolean;
  isFIFO(): boolean;
  isDirectory(): boolean;
  isSocket(): boolean;
}): string {
  if (info.isSymbolicLink()) return "a symbolic link";
  if (info.isFIFO()) return "a named pipe";
  if (info.isDirectory()) return "a directory";
  return info.isSocket() ? "a socket" : "a device";
}
