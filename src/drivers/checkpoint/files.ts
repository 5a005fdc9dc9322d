import { constants } from "node:fs";
import { type FileHandle, open, readdir, statfs } from "node:fs/promises";
import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { openSha256 } from "../../linux/blob/index.ts";
import { openRegular } from "../../linux/file/index.ts";
import { describeFullDisk } from "../../linux/host/index.ts";
import type { FileFacts } from "./manifest.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;
const pieceBytes = 1024 * 1024;

/** An open directory. What is opened in it is found from there, wherever its path leads by then. */
export class OpenDirectory implements AsyncDisposable {
  readonly #handle: FileHandle;
  readonly #path: string;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  /** Opens a directory. Its last component must not be a link. */
  static async open(path: string, shown = path): Promise<OpenDirectory> {
    try {
      return new OpenDirectory(await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), shown);
    } catch (cause) {
      const code = errnoCode(cause);
      if (code !== "ENOTDIR" && code !== "ELOOP") throw systemError(`open "${shown}"`, cause);
      throw new RuntimeError("invalid-argument", `open "${shown}": it is not a directory`, {
        cause,
      });
    }
  }

  /** Opens a directory in this one, by its name. */
  async directory(name: string): Promise<OpenDirectory> {
    return await OpenDirectory.open(this.#at(name), `${this.#path}/${name}`);
  }

  /** Opens a file in this directory for reading, by its name. Only a regular file is opened. */
  async file(name: string): Promise<FileHandle> {
    return await openRegular(this.#at(name), O_RDONLY, `read "${this.#path}/${name}"`);
  }

  /** The text of a file in this directory; undefined if there is none. `invalid-argument` for one that is too long. */
  async text(name: string, maxBytes: number): Promise<string | undefined> {
    try {
      await using file = await this.file(name);
      const { size } = await file.stat();
      if (size <= maxBytes) return await readText(file, size);
      const text = `read "${this.#path}/${name}": it has ${size} bytes; at most ${maxBytes} are read`;
      throw new RuntimeError("invalid-argument", text);
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined;
      throw cause;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }

  #at(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }
}

/** No more than this many bytes, even if the file grows meanwhile. */
async function readText(file: FileHandle, size: number): Promise<string> {
  const bytes = Buffer.alloc(size);
  let at = 0;
  while (at < size) {
    const { bytesRead } = await file.read(bytes, at, size - at, at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.toString("utf8", 0, at);
}

/** Makes a new file that only root can read. An existing one, or a link, is `already-exists`. */
export async function createFile(path: string): Promise<FileHandle> {
  return await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

/**
 * The size and the digest of a file, from its beginning. With `copy`, its bytes are also written there: what is
 * digested is what was written. Reads at most `maxBytes` and one more, so that a larger size means that there are more.
 */
export async function digestFile(
  file: FileHandle,
  how: {
    readonly signal: AbortSignal;
    readonly copy?: FileHandle;
    readonly maxBytes?: number;
  },
): Promise<FileFacts> {
  const { signal, copy, maxBytes = Number.MAX_SAFE_INTEGER } = how;
  const hash = openSha256();
  let [current, other] = [piece(), piece()];
  let size = 0;
  let count = (await file.read(current, 0, pieceBytes, 0)).bytesRead;
  while (count > 0) {
    signal.throwIfAborted();
    const bytes = current.subarray(0, count);
    const at = size;
    size += count;
    const isLast = size > maxBytes;
    const next = isLast ? undefined : file.read(other, 0, pieceBytes, size);
    const hashed = hash.update(bytes);
    const done = await Promise.allSettled([next, hashed, copy && writeAll(copy, bytes, at)]);
    for (const each of done) if (each.status === "rejected") throw each.reason;
    count = isLast ? 0 : ((await next)?.bytesRead ?? 0);
    [current, other] = [other, current];
  }
  return { size, digest: `sha256:${hash.digest()}` };
}

function piece(): Buffer {
  return Buffer.allocUnsafeSlow(pieceBytes);
}

/** Writes all bytes at a position. */
async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}

/** `resource-exhausted` with advice for a full disk, else the error of the kernel. */
export async function writeError(doing: string, disk: string, cause: unknown): Promise<Error> {
  const code = errnoCode(cause);
  if (code !== "ENOSPC" && code !== "EDQUOT") return systemError(doing, cause);
  const why = describeFullDisk(disk, await statfs(disk));
  return new RuntimeError("resource-exhausted", `${doing}: ${why}`, { cause });
}

/** `data-loss` unless a file is as its manifest says. */
export function checkFile(name: string, found: FileFacts, said: FileFacts): void {
  if (found.size === said.size && found.digest === said.digest) return;
  const what =
    found.size === said.size
      ? `"${found.digest}" instead of "${said.digest}"`
      : `${found.size} bytes instead of ${said.size}`;
  const text = `check "${name}" of a checkpoint: it has ${what}: it was changed, or not written completely. Take the checkpoint again, or copy it again from where it is whole`;
  throw new RuntimeError("data-loss", text);
}

/** The digest of a text. */
export async function digestText(text: string): Promise<Digest> {
  const hash = openSha256();
  await hash.update(Buffer.from(text));
  return `sha256:${hash.digest()}`;
}

/** The names in a directory; none for one that does not exist. */
export async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return [];
    throw systemError(`read "${directory}"`, cause);
  }
}
