import {
  type BigIntStats,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { errnoCode, SystemError } from "../base/system-error.ts";
import { deviceNumbers, getXattrs } from "../linux/file/index.ts";
import { onDisk } from "./disk-files.ts";
import type { FromBelow } from "./layer-writer.ts";
import { printable } from "./tar-entry.ts";
import { archiveEnd, headersOf, paddingOf, type WrittenEntry } from "./tar-writer.ts";

/** A layer on the disk. */
export interface PackedLayer {
  /** Its files, in the root of this process. */
  readonly directory: string;
  /** It hides everything below it. */
  readonly rootOpaque: boolean;
  /** What it takes from the layers below it. */
  readonly fromBelow?: FromBelow | undefined;
}

/** A range of ids, and where it begins on the node. */
export interface IdRange {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** How the changes of a container are written, where that differs from a layer. */
export interface PackedChanges {
  /** Called for a file of the layers below that is hidden, in place of a whiteout. False: a whiteout is written. */
  readonly deleted: (path: string) => boolean;
  /** Called for a directory that hides the content of the same one in the layers below, in place of a mark. */
  readonly opaque: (path: string) => void;
  /** The ids of the container's user namespace, which owners are written in. Empty: the node's. */
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
  /** Whether an entry, with what is in it, is hidden by changes that follow in the same archive. */
  readonly skip?: (path: string) => boolean;
}

/** Receives the bytes of an archive, which are valid during the call only. */
export type Output = (bytes: Buffer) => void;

const pieceBytes = 256 * 1024;
const opaqueMark = ".wh..wh..opq";
const rootMode = 0o755;
/** Attributes of overlayfs, where a kernel uses them by default. */
const elsewhere: ReadonlySet<string> = new Set([
  "trusted.overlay.redirect",
  "trusted.overlay.metacopy",
]);
/** overflowuid and overflowgid of the kernel. */
const overflowId = 65_534;
/** stat's st_mode: the type. */
const { S_IFMT, S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFREG } = constants;

/**
 * Writes the archive of a layer: the reverse of LayerWriter. Entries are sorted, and overlayfs' marks become the
 * image-spec's whiteouts, so that a layer always has the same bytes, and unpacks to the same files. What the unpacker
 * had to make without an entry, as a parent directory, has none again: its times are those of the unpacking.
 */
export class LayerPacker {
  readonly #layer: PackedLayer;
  readonly #output: Output;
  readonly #implied: ReadonlySet<string>;
  /** The first name of each file with several names, by inode. */
  readonly #names = new Map<bigint, string>();
  readonly #piece = Buffer.allocUnsafeSlow(pieceBytes);
  readonly #changes: PackedChanges | undefined;

  constructor(layer: PackedLayer, output: Output, changes?: PackedChanges) {
    this.#layer = layer;
    this.#output = output;
    this.#changes = changes;
    this.#implied = new Set(layer.fromBelow?.directories);
  }

  /** Writes the whole archive with its end; without one where changes follow. */
  pack(): void {
    const { rootOpaque, fromBelow } = this.#layer;
    const root = this.#stat("");
    const xattrs = this.#xattrsOf("");
    const described = this.#described(root, "5");
    const isPlain = described.uid === 0 && described.gid === 0 && described.mode === rootMode;
    if (!isPlain || xattrs.size > 0) this.#head({ name: "./", ...described, xattrs });
    if (rootOpaque) this.#mark(opaqueMark);
    this.#children("");
    for (const { path, target } of fromBelow?.links ?? []) {
      const link = { name: path.slice(1), type: "1", linkName: target.slice(1) };
      this.#head({ ...link, mode: 0o644 });
    }
    // More changes follow.
    if (this.#changes?.skip === undefined) this.#output(archiveEnd);
  }

  #children(path: string): void {
    const names = readdirSync(onDisk(this.#at(path)), { encoding: "latin1" });
    for (const name of names.toSorted()) this.#entry(`${path}/${name}`);
  }

  #entry(path: string): void {
    if (this.#changes?.skip?.(path) === true) return;
    const info = this.#stat(path);
    if (info.isDirectory()) this.#directory(path, info);
    else if (info.isCharacterDevice() && info.rdev === 0n) this.#whiteout(path);
    // The archives of a container's changes leave out sockets: their process makes them again.
    else if (!info.isSocket() || this.#changes === undefined) this.#file(path, info);
  }

  #whiteout(path: string): void {
    if (this.#changes?.deleted(path) === true) return;
    const slash = path.lastIndexOf("/") + 1;
    this.#mark(`${path.slice(1, slash)}.wh.${path.slice(slash)}`);
  }

  /** Everything that is not a directory. */
  #file(path: string, info: BigIntStats): void {
    const name = path.slice(1);
    if (info.nlink > 1n) {
      const first = this.#names.get(info.ino);
      if (first !== undefined) {
        this.#head({ name, ...this.#described(info, "1"), linkName: first });
        return;
      }
      this.#names.set(info.ino, name);
    }
    const xattrs = this.#xattrsOf(path);
    switch (Number(info.mode & BigInt(S_IFMT))) {
      case S_IFREG:
        this.#content(path, {
          name,
          ...this.#described(info, "0"),
          size: Number(info.size),
          xattrs,
        });
        return;
      case S_IFLNK: {
        const linkName = readlinkSync(onDisk(this.#at(path)), "latin1");
        this.#head({ name, ...this.#described(info, "2"), linkName, xattrs });
        return;
      }
      case S_IFCHR:
        this.#head({ name, ...this.#described(info, "3"), ...deviceNumbers(info.rdev), xattrs });
        return;
      case S_IFBLK:
        this.#head({ name, ...this.#described(info, "4"), ...deviceNumbers(info.rdev), xattrs });
        return;
      case S_IFIFO:
        this.#head({ name, ...this.#described(info, "6"), xattrs });
        return;
      default:
        throw new RuntimeError(
          "data-loss",
          `pack layer: "${printable(path)}" is of a type that layers do not have`,
        );
    }
  }

  #directory(path: string, info: BigIntStats): void {
    const name = path.slice(1);
    const all = this.#attributes(path);
    if (!this.#implied.has(path)) {
      this.#head({ name: `${name}/`, ...this.#described(info, "5"), xattrs: archived(all) });
    }
    // Names are at even positions.
    const at = all.indexOf("trusted.overlay.opaque");
    if (at >= 0 && at % 2 === 0 && all[at + 1] === "y") {
      if (this.#changes === undefined) this.#mark(`${name}/${opaqueMark}`);
      else this.#changes.opaque(path);
    }
    this.#children(path);
  }

  #content(path: string, entry: WrittenEntry & { readonly size: number }): void {
    const { O_RDONLY, O_NOFOLLOW } = constants;
    const file = openSync(onDisk(this.#at(path)), O_RDONLY | O_NOFOLLOW);
    try {
      this.#head(entry);
      for (let left = entry.size; left > 0; ) {
        const count = readSync(file, this.#piece, 0, Math.min(pieceBytes, left), null);
        if (count === 0) {
          throw new RuntimeError("data-loss", `pack layer: "${printable(path)}" became shorter`);
        }
        this.#output(this.#piece.subarray(0, count));
        left -= count;
      }
    } catch (cause) {
      const code = errnoCode(cause);
      if (code === undefined || cause instanceof RuntimeError) throw cause;
      throw new SystemError(`read "${printable(path)}" of a layer`, code, { cause });
    } finally {
      closeSync(file);
    }
    this.#output(paddingOf(entry.size));
  }

  /** A mark of the image-spec. It has no attributes, and no time. */
  #mark(name: string): void {
    this.#head({ name, type: "0", mode: 0o600 });
  }

  #head(entry: WrittenEntry): void {
    this.#output(headersOf(entry));
  }

  #described(info: BigIntStats, type: string) {
    const { uids = [], gids = [] } = this.#changes ?? {};
    const [uid, gid] = [idIn(uids, Number(info.uid)), idIn(gids, Number(info.gid))];
    return { type, mode: modeOf(info), uid, gid, timeNs: info.mtimeNs };
  }

  #stat(path: string): BigIntStats {
    return lstatSync(onDisk(this.#at(path)), { bigint: true });
  }

  #xattrsOf(path: string): ReadonlyMap<string, string> {
    return archived(this.#attributes(path));
  }

  /** Names and values. Those of overlayfs in a writable layer may say that the content is elsewhere (overlayfs.rst). */
  #attributes(path: string): readonly string[] {
    const all = getXattrs(this.#at(path));
    const isElsewhere = (name: string): boolean =>
      elsewhere.has(name) && all.indexOf(name) % 2 === 0;
    if (this.#changes === undefined || !all.some(isElsewhere)) return all;
    throw new RuntimeError(
      "failed-precondition",
      `"${printable(path)}" was moved or changed in a way that only this mount of overlayfs can read: set redirect_dir=N and metacopy=N of the module overlay, and create the container again`,
    );
  }

  #at(path: string): string {
    return `${this.#layer.directory}${path}`;
  }
}

/** The attributes of the image: not overlayfs' own, and not the labels of the node's policy. */
function archived(all: readonly string[]): ReadonlyMap<string, string> {
  const kept = new Map<string, string>();
  for (let at = 0; at < all.length; at += 2) {
    const name = all[at] ?? "";
    if (name.startsWith("trusted.") || name === "security.selinux") continue;
    kept.set(name, all[at + 1] ?? "");
  }
  return kept;
}

/** An id of the node in a user namespace. One that the namespace does not have is nobody there. */
function idIn(ranges: readonly IdRange[], id: number): number {
  if (ranges.length === 0) return id;
  const range = ranges.find(({ hostID, size }) => id >= hostID && id < hostID + size);
  return range === undefined ? overflowId : range.containerID + (id - range.hostID);
}

function modeOf({ mode }: BigIntStats): number {
  return Number(mode & 0o7777n);
}
