import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";

import { RuntimeError } from "../../../base/errors.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";

/** The bytes of a file of the administrator. Rejects for anything but a file of at most `maxBytes` bytes. */
export async function readBounded(path: string, maxBytes: number): Promise<Buffer> {
  const bytes = await readIfPresent(path, maxBytes);
  if (bytes !== undefined) return bytes;
  throw new RuntimeError("failed-precondition", `read "${path}": there is no such file`);
}

/** As {@link readBounded}, of a file that a program has written: a link is refused. */
export async function readOwn(path: string, maxBytes: number): Promise<Buffer> {
  const bytes = await readIfPresent(path, maxBytes, constants.O_NOFOLLOW);
  return bytes ?? Buffer.alloc(0);
}

/** As {@link readBounded}; undefined where there is no such file. */
export async function readIfPresent(
  path: string,
  maxBytes: number,
  flags = 0,
): Promise<Buffer | undefined> {
  const doing = `read "${path}"`;
  try {
    // Opening a named pipe would wait for its other end.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
    const info = await file.stat();
    if (!info.isFile()) throw new RuntimeError("failed-precondition", `${doing}: it is not a file`);
    if (info.size > maxBytes) throw tooLarge(doing, maxBytes);
    const bytes = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length);
      if (bytesRead === 0) return bytes.subarray(0, length);
      length += bytesRead;
      if (length > maxBytes) throw tooLarge(doing, maxBytes);
    }
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause instanceof RuntimeError ? cause : systemError(doing, cause);
  }
}

/**
 * A text that changes when the file does; `none` where it is missing. Not an error for a file that cannot be
 * reached: whoever reads it gets the error.
 */
export async function fileState(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch (cause) {
    return isMissing(cause) ? "none" : "unreadable";
  }
}

/** Whether a file does not exist, by the error of a system call. */
export function isMissing(cause: unknown): boolean {
  const code = errnoCode(cause);
  return code === "ENOENT" || code === "ENOTDIR";
}

function tooLarge(doing: string, maxBytes: number): RuntimeError {
  return new RuntimeError("resource-exhausted", `${doing}: it has more than ${maxBytes} bytes`);
}
