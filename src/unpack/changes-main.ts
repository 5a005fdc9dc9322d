/**
 * Writes what a container changed in its root, in the process of pack-main.ts: an archive of the files that are new or
 * different, and a JSON list of the paths that are gone. This is the form of podman and CRI-O. A path that is not UTF-8
 * cannot be in JSON, and is a whiteout of the archive.
 */
import { isUtf8 } from "node:buffer";
import { type BigIntStats, lstatSync, readdirSync, writeSync } from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { errnoCode } from "../base/system-error.ts";
import { getXattrs } from "../linux/file/index.ts";
import { onDisk } from "./disk-files.ts";
import { type IdRange, LayerPacker, type PackedLayer } from "./layer-packer.ts";

/** What to write, and in which ids. */
export interface ChangesPlan {
  /** The writable layer, in the root of this process. */
  readonly upper: string;
  /** Earlier changes, which are between the writable layer and the layers below. */
  readonly earlier?: PackedLayer | undefined;
  /** The files of the layers below, without the changes. */
  readonly lower: string;
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
  /** The largest archive. Bytes. */
  readonly maxBytes: number;
}

/** The descriptor for the archive, and the one for the list. */
const [ARCHIVE, DELETED] = [1, 4];

/** Writes archive and list. */
export function writeChanges(plan: ChangesPlan): void {
  const { upper, earlier, lower, uids, gids, maxBytes } = plan;
  const deleted = new Set<string>();
  const hide = (path: string): boolean => {
    const bytes = Buffer.from(path, "latin1");
    if (!isUtf8(bytes)) return false;
    deleted.add(bytes.toString("utf8"));
    return true;
  };
  let room = maxBytes;
  const output = (bytes: Buffer): void => {
    room -= bytes.length;
    if (room < 0) throw tooLarge(maxBytes);
    writeAll(ARCHIVE, bytes);
  };
  const opaqueIn =
    (...directories: readonly string[]) =>
    (path: string): void =>
      hideMissing({ directories, lower }, path, hide);
  if (earlier !== undefined) {
    const changes = {
      // A path that is there again is not gone, but what was in it is.
      deleted: (path: string): boolean => {
        if (find(`${upper}${path}`) === undefined) return hide(path);
        opaqueIn(upper)(path);
        return true;
      },
      opaque: opaqueIn(upper, earlier.directory),
      skip: (path: string): boolean => isHidden(upper, earlier.directory, path),
      uids: [],
      gids: [],
    };
    new LayerPacker(earlier, output, changes).pack();
  }
  const layer = { directory: upper, rootOpaque: false };
  new LayerPacker(layer, output, { deleted: hide, opaque: opaqueIn(upper), uids, gids }).pack();
  writeAll(DELETED, Buffer.from(`${JSON.stringify([...deleted])}\n`));
}

/** Whether the writable layer hides an entry of the earlier changes. It has what it hides whiteouts with itself. */
function isHidden(upper: string, earlier: string, path: string): boolean {
  const mine = find(`${upper}${path}`);
  if (mine === undefined) return false;
  const other = find(`${earlier}${path}`);
  // Whiteouts are listed, unless the path is there again.
  if (other !== undefined && isWhiteoutDevice(other)) return isWhiteoutDevice(mine);
  if (!mine.isDirectory() || other?.isDirectory() !== true) return true;
  return isOpaque(`${upper}${path}`);
}

function isWhiteoutDevice(info: BigIntStats): boolean {
  return info.isCharacterDevice() && info.rdev === 0n;
}

function isOpaque(directory: string): boolean {
  const all = getXattrs(directory);
  const at = all.indexOf("trusted.overlay.opaque");
  return at >= 0 && at % 2 === 0 && all[at + 1] === "y";
}

/** Hides what an opaque directory hides: everything in the directory below that it does not have itself. */
function hideMissing(
  { directories, lower }: { readonly directories: readonly string[]; readonly lower: string },
  path: string,
  hide: (path: string) => boolean,
): void {
  for (const name of namesIn(`${lower}${path}`)) {
    const each = `${path}/${name}`;
    const found = directories.map((directory) => find(`${directory}${each}`));
    const first = found.find((info) => info !== undefined);
    if (first === undefined) hide(each);
    // Of a directory in an opaque one, nothing is merged either.
    else if (first.isDirectory()) hideMissing({ directories, lower }, each, hide);
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
  try {
    return lstatSync(onDisk(path), { bigint: true, throwIfNoEntry: false });
  } catch (cause) {
    // A component of the path is not a directory in this layer.
    if (errnoCode(cause) === "ENOTDIR") return undefined;
    throw cause;
  }
}

/** Files with holes are larger in the archive than on the disk. */
function tooLarge(maxBytes: number): RuntimeError {
  const text = `the archive of what the container changed has more than ${maxBytes} bytes, of which the disk or [checkpoint] max_bytes has no more: remove files from the container, or free space`;
  return new RuntimeError("resource-exhausted", text);
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
