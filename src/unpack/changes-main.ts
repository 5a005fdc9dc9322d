/**
 * Writes what a container changed in its root, in the process of pack-main.ts: an archive of the files that are new or
 * different, and a JSON list of the paths that are gone. This is the form of podman and CRI-O. A path that is not UTF-8
 * cannot be in JSON, and is a whiteout of the archive.
 */
import { isUtf8 } from "node:buffer";
import { type BigIntStats, lstatSync, readdirSync, writeSync } from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { errnoCode } from "../base/system-error.ts";
import { onDisk } from "./disk-files.ts";
import { type IdRange, LayerPacker } from "./layer-packer.ts";

/** What to write, and in which ids. */
export interface ChangesPlan {
  /** The writable layer, in the root of this process. */
  readonly upper: string;
  /** The files of the layers below, without the writable one. */
  readonly lower: string;
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
  /** The largest archive. Bytes. */
  readonly maxBytes: number;
}

/** The descriptor for the archive, and the one for the list. */
const [ARCHIVE, DELETED] = [1, 4];

/** Writes archive and list. */
export function writeChanges({ upper, lower, uids, gids, maxBytes }: ChangesPlan): void {
  const deleted = new Set<string>();
  const hide = (path: string): boolean => {
    const bytes = Buffer.from(path, "latin1");
    if (!isUtf8(bytes)) return false;
    deleted.add(bytes.toString("utf8"));
    return true;
  };
  const layer = { directory: upper, rootOpaque: false };
  let room = maxBytes;
  const output = (bytes: Buffer): void => {
    room -= bytes.length;
    if (room < 0) throw tooLarge(maxBytes);
    writeAll(ARCHIVE, bytes);
  };
  const opaque = (path: string): void => hideMissing({ upper, lower }, path, hide);
  new LayerPacker(layer, output, { deleted: hide, opaque, uids, gids }).pack();
  writeAll(DELETED, Buffer.from(`${JSON.stringify([...deleted])}\n`));
}

/** Hides what an opaque directory hides: everything in the directory below that it does not have itself. */
function hideMissing(
  { upper, lower }: Pick<ChangesPlan, "upper" | "lower">,
  path: string,
  hide: (path: string) => boolean,
): void {
  for (const name of namesIn(`${lower}${path}`)) {
    const each = `${path}/${name}`;
    const mine = find(`${upper}${each}`);
    if (mine === undefined) hide(each);
    // Of a directory in an opaque one, nothing is merged either.
    else if (mine.isDirectory()) hideMissing({ upper, lower }, each, hide);
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    if (find(directory)?.isDirectory() !== true) return [];
    return readdirSync(onDisk(directory), { encoding: "latin1" }).toSorted();
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? "")) return [];
    throw cause;
  }
}

function find(path: string): BigIntStats | undefined {
  return lstatSync(onDisk(path), { bigint: true, throwIfNoEntry: false });
}

/** Files with holes are larger in the archive than on the disk. */
function tooLarge(maxBytes: number): RuntimeError {
  const text = `the archive of what the container changed has more than ${maxBytes} bytes, of which the disk or [checkpoint] max_bytes has no more: remove files from the container, or free space`;
  return new RuntimeError("resource-exhausted", text);
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
