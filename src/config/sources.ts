import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { messageOf, RuntimeError } from "../base/errors.ts";
import { errnoCode } from "../base/system-error.ts";

/** A file of the configuration with its text. */
export interface ConfigSource {
  readonly file: string;
  readonly text: string;
}

/** A drop-in, or the directory of them, that cannot be read. */
export interface UnreadableSource {
  readonly file: string;
  readonly message: string;
}

/** The most of a file that is read; the reference with all keys has 40 KiB. */
const maxFileBytes = 1024 * 1024;
const maxDropIns = 256;
const isDropIn = (name: string): boolean => name.endsWith(".toml") && !name.startsWith(".");

/** The directory with the drop-ins of a configuration file. */
export function dropInDirectory(file: string): string {
  return `${file}.d`;
}

/**
 * Reads a configuration file and its drop-ins: the regular files *.toml in FILE.d, without hidden ones, in lexical
 * order. The file itself may be absent if that directory exists. A problem with a drop-in is returned, so that all of
 * them are reported at once.
 *
 * Throws a RuntimeError of kind `not-found`, `permission-denied` or `invalid-argument` for the file itself.
 */
export function readSources(path: string): {
  readonly sources: readonly ConfigSource[];
  readonly unreadable: readonly UnreadableSource[];
} {
  const sources: ConfigSource[] = [];
  const unreadable: UnreadableSource[] = [];
  const names = dropInNames(path, unreadable);
  const text = readMain(path, names !== undefined);
  if (text !== undefined) sources.push({ file: path, text });
  for (const name of names ?? []) {
    const file = join(dropInDirectory(path), name);
    try {
      const dropIn = readDropIn(file);
      if (dropIn !== undefined) sources.push({ file, text: dropIn });
    } catch (error) {
      unreadable.push({ file, message: reasonOf(error) });
    }
  }
  return { sources, unreadable };
}

/** The names of possible drop-ins, sorted; undefined where there is no directory for them. */
function dropInNames(path: string, unreadable: UnreadableSource[]): readonly string[] | undefined {
  const directory = dropInDirectory(path);
  try {
    const names = readdirSync(directory).filter(isDropIn).sort();
    if (names.length <= maxDropIns) return names;
    const message = `it has ${names.length} files, and at most ${maxDropIns} are read; merge some of them`;
    unreadable.push({ file: directory, message });
    return [];
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    // A file has no files below it, also where its name is that of a device.
    if (errnoCode(error) === "ENOTDIR" && statOf(directory) === undefined) return undefined;
    unreadable.push({ file: directory, message: reasonOf(error) });
    return [];
  }
}

/** Undefined for a path that is not a regular file, such as a directory. */
function readDropIn(file: string): string | undefined {
  // Looked at before it is opened, because opening a device can have effects.
  if (!statSync(file).isFile()) return undefined;
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return fstatSync(descriptor).isFile() ? readText(descriptor) : undefined;
  } finally {
    closeSync(descriptor);
  }
}

/** Undefined for an absent file where `isOptional`. */
function readMain(path: string, isOptional: boolean): string | undefined {
  try {
    const descriptor = openSync(path, "r");
    try {
      return readText(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" && isOptional) return undefined;
    const isDenied = code === "EACCES" || code === "EPERM";
    const kind =
      code === "ENOENT"
        ? "not-found"
        : code === "EISDIR" || cause instanceof RuntimeError
          ? "invalid-argument"
          : isDenied
            ? "permission-denied"
            : "unknown";
    throw new RuntimeError(kind, `read configuration "${path}": ${mainReason(cause)}`, { cause });
  }
}

function mainReason(cause: unknown): string {
  const code = errnoCode(cause);
  if (code === "ENOENT") return 'no such file; "davit config default" prints one to start from';
  if (code === "EISDIR") return "it is a directory; pass the path of a file";
  return messageOf(cause);
}

function reasonOf(error: unknown): string {
  const code = errnoCode(error);
  if (code === "ENOENT") return "it is a link to a file that does not exist; remove it";
  if (code === "ENOTDIR") return "it must be a directory with files *.toml";
  return messageOf(error);
}

function readText(descriptor: number): string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(64 * 1024);
    const count = readSync(descriptor, chunk);
    if (count === 0) return Buffer.concat(chunks).toString("utf8");
    bytes += count;
    if (bytes > maxFileBytes) {
      const message = `it is larger than ${maxFileBytes} bytes (1 MiB); it is hardly a configuration`;
      throw new RuntimeError("invalid-argument", message);
    }
    chunks.push(chunk.subarray(0, count));
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
