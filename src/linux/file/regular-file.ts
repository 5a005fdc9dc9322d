import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

import { RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** Not in node:fs. The file is found and not opened, which has no effect on a device or a FIFO (open(2)). */
const O_PATH = 0o10000000;

/**
 * Opens a file by a path whose last component a container may control. Anything but a regular file is refused
 * (`failed-precondition`, with `doing`) without being opened: opening a FIFO waits for its other end, and a
 * device may react to it. Otherwise rejects with an error that has the errno's name.
 */
export async function openRegular(path: string, flags: number, doing: string): Promise<FileHandle> {
  return openFound(await open(path, O_PATH | O_NOFOLLOW), flags, doing);
}

/**
 * The text of a file that a program may have written, such as the configuration of a network plugin.
 * Links are followed; otherwise like {@link openRegular}.
 */
export async function readRegular(path: string, doing: string): Promise<string> {
  const found = await open(path, O_PATH);
  await using file = await openFound(found, O_RDONLY | O_NONBLOCK, doing);
  return await file.readFile("utf8");
}

/** Opens the file that was found, if it is a regular file. */
async function openFound(found: FileHandle, flags: number, doing: string): Promise<FileHandle> {
  try {
    const info = await found.stat();
    // This opens the file that was checked, even if another file has its name by now.
    if (info.isFile()) return await open(`/proc/self/fd/${found.fd}`, flags);
    throw new RuntimeError("failed-precondition", `${doing}: it is ${kindOf(info)}, not a file`);
  } catch (cause) {
    // The error of node:fs names the descriptor.
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
