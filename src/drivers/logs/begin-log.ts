import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { RuntimeError, wrap } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import type { BegunLog } from "../../core/container/index.ts";
import { type FileIdentity, LogDirectory, openRegular } from "../../linux/file/index.ts";
import { LogRecords } from "./log-records.ts";

/** The most of an earlier log that is copied: its end. As much as a checkpoint of this node has. */
const maxBytes = 64 * 1024 * 1024;
/** Its lines are checked in the daemon: a piece takes a few milliseconds. */
const pieceBytes = 64 * 1024;

const nothing: BegunLog = { dropped: 0, remove: () => Promise.resolve() };

interface BeginOptions {
  /** See LogDirectoryOptions. */
  readonly linkedRoots: readonly string[];
  readonly signal: AbortSignal;
  /** The most that is copied, in bytes; {@link maxBytes} if not given. */
  readonly most?: number;
}

/** See ContainerLogs.begin. */
export async function beginLog(
  path: string,
  from: string,
  { linkedRoots, signal, most = maxBytes }: BeginOptions,
): Promise<BegunLog> {
  await using earlier = await openEarlier(from);
  if (earlier === undefined) return nothing;
  using directory = await LogDirectory.open(dirname(path), { linkedRoots, make: true });
  const name = basename(path);
  if (await hasLines(directory, name)) return nothing;
  const doing = `begin log "${path}" with that of the checkpoint`;
  const hidden = `.${name}.earlier`;
  await using file = await directory.create(hidden);
  try {
    const dropped = await copyEnd(earlier, file, { most, signal });
    signal.throwIfAborted();
    // It gets the log's name when it is complete: a create that is repeated finds all of it, or nothing.
    await directory.rename(hidden, name);
    if (await isAt(directory, name, file)) {
      const own = await file.stat({ bigint: true });
      return { dropped, remove: () => removeLog(path, own, linkedRoots) };
    }
  } catch (cause) {
    // A create that was repeated may have its own there by now.
    if (await isAt(directory, hidden, file)) await directory.remove(hidden);
    signal.throwIfAborted();
    throw cause instanceof RuntimeError ? wrap(doing, cause) : systemError(doing, cause);
  }
  throw new RuntimeError(
    "failed-precondition",
    `${doing}: another process renames files in its directory; stop it, or use another directory`,
  );
}

async function isAt(directory: LogDirectory, name: string, file: FileHandle): Promise<boolean> {
  return isSame(await directory.identity(name), await file.stat({ bigint: true }));
}

function isSame(one: FileIdentity | undefined, other: FileIdentity): boolean {
  return one?.dev === other.dev && one.ino === other.ino;
}

async function removeLog(
  path: string,
  own: FileIdentity,
  linkedRoots: readonly string[],
): Promise<void> {
  using directory = await LogDirectory.open(dirname(path), { linkedRoots });
  const name = basename(path);
  if (isSame(await directory.identity(name), own)) await directory.remove(name);
}

/** Undefined if there is none. */
async function openEarlier(path: string): Promise<FileHandle | undefined> {
  const doing = `read the log of the checkpoint "${path}"`;
  try {
    return await openRegular(path, constants.O_RDONLY | constants.O_NONBLOCK, doing);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw cause;
  }
}

/** Whether there is a log of this name with anything in it. Rejects where something else than a file has the name. */
async function hasLines(directory: LogDirectory, name: string): Promise<boolean> {
  if ((await directory.identity(name)) === undefined) return false;
  await using file = await directory.read(name);
  return (await file.stat()).size > 0;
}

/** Copies the records at the end of a log, from the beginning of a line on. Returns the count of other lines. */
async function copyEnd(
  from: FileHandle,
  to: FileHandle,
  { most, signal }: { readonly most: number; readonly signal: AbortSignal },
): Promise<number> {
  const { size } = await from.stat();
  const records = new LogRecords({ isCut: size > most });
  for (let at = Math.max(0, size - most); at < size; ) {
    signal.throwIfAborted();
    // A record that is not complete yet keeps its piece.
    const piece = Buffer.allocUnsafe(Math.min(pieceBytes, size - at));
    const { bytesRead } = await from.read(piece, 0, piece.length, at);
    if (bytesRead === 0) break;
    at += bytesRead;
    const text = records.push(piece.subarray(0, bytesRead));
    for (let done = 0; done < text.length; ) {
      done += (await to.write(text, done)).bytesWritten;
    }
  }
  return records.end();
}
