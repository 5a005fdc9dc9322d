import { constants, statfsSync } from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import { errnoCode, SystemError } from "../base/system-error.ts";
import { DiskFiles } from "./disk-files.ts";
import { LayerDirectories } from "./layer-directories.ts";
import { isWhiteout, type LayerEntry, type LayerFiles, layerPath } from "./layer-files.ts";
import { type LowerLink, LowerLinks } from "./lower-links.ts";
import { type EntryType, printable, type TarEntry } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";
import type { TarSink } from "./tar-reader.ts";

const { S_IFBLK, S_IFCHR, S_IFIFO } = constants;
const noBytes = Buffer.alloc(0);
/** Marks in an archive that hide files of lower layers (image-spec, layer.md). */
const WHITEOUT = ".wh.";
const META = ".wh..wh.";
const OPAQUE = ".wh..wh..opq";
/** With this much free space, a file system did not refuse an attribute because of a full disk. */
const FREE_SPACE = 1024 * 1024;
/** Errnos for which the archive, and not the machine, is the cause. */
const archiveFaults: ReadonlySet<string> = new Set([
  "ENAMETOOLONG",
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "EEXIST",
  "ELOOP",
  "EINVAL",
  "EMLINK",
  "EXDEV",
  "ERANGE",
]);

/** The parts of a layer that come from lower layers. Paths in the layer, without symbolic links. */
export interface FromBelow {
  /** Hard links to files that are not in this layer. */
  readonly links: readonly LowerLink[];
  /** Directories without an entry: their attributes are those of lower layers. Parents first. */
  readonly directories: readonly string[];
}

/**
 * Makes the files of a layer: on the disk below `/`, which must be the layer's own directory (chroot), so that no
 * name and no symbolic link leads out of it. A symbolic link in the path of an entry is followed inside.
 *
 * An entry replaces an earlier one completely. Whiteouts become those of
 * overlayfs (overlayfs.rst): a character device 0:0, or `trusted.overlay.opaque` of a directory. They never
 * hide entries of the same layer, and no entry of another type becomes one. Attributes `trusted.*` of
 * the archive are dropped, because the kernel would use them itself.
 */
export class LayerWriter implements TarSink {
  readonly #files: LayerFiles;
  readonly #directories: LayerDirectories;
  readonly #lower: LowerLinks;
  #current: TarEntry | undefined;
  #path = "";
  /**
   * The current entry is a file that is not made yet. Its content usually comes in one piece: then one call makes, fills and
   * describes it.
   */
  #isToBeMade = false;

  constructor(files: LayerFiles = new DiskFiles()) {
    this.#files = files;
    this.#directories = new LayerDirectories(files);
    this.#lower = new LowerLinks(files);
  }

  /** Whether the layer hides everything below it: overlayfs has no mark for that on a root. */
  get isRootOpaque(): boolean {
    return this.#directories.isRootOpaque;
  }

  entry(entry: TarEntry): void {
    const path = layerPath(entry.path);
    const slash = path.lastIndexOf("/");
    const name = path.slice(slash + 1);
    this.#current = undefined;
    this.#isToBeMade = false;
    try {
      if (name.startsWith(WHITEOUT)) {
        this.#whiteout(path.slice(0, slash), name);
        return;
      }
      this.#path = path;
      this.#current = this.#make(path, entry) === "described" ? undefined : entry;
    } catch (cause) {
      throw faultOf(entry, cause);
    }
  }

  data(bytes: Buffer): void {
    const entry = this.#current;
    if (entry?.type !== "file") return; // an ignored entry, such as .wh..wh.aufs
    if (bytes.length === entry.size && this.#isToBeMade) {
      this.#makeWhole(entry, bytes);
      return;
    }
    this.#openFile();
    try {
      this.#files.write(bytes);
    } catch (cause) {
      throw diskFault("write file", this.#path, cause);
    }
  }

  hole(bytes: number): void {
    if (this.#current?.type !== "file") return;
    this.#openFile();
    this.#files.hole(bytes);
  }

  endEntry(): void {
    if (this.#isToBeMade && this.#current?.size === 0) this.#makeWhole(this.#current, noBytes);
    this.#openFile();
    try {
      this.#files.closeFile();
    } catch (cause) {
      throw diskFault("write file", this.#path, cause);
    }
    const entry = this.#current;
    this.#current = undefined;
    if (entry === undefined) return;
    try {
      this.#describe(this.#path, entry);
    } catch (cause) {
      throw faultOf(entry, cause);
    }
  }

  /**
   * Ends the layer: sets the times of directories, and returns the parts that come from lower layers,
   * `undefined` for none.
   */
  finish(): FromBelow | undefined {
    const links = this.#lower.finish();
    this.#directories.setTimes();
    const directories = this.#directories.implied();
    this.#files.finish();
    return links.length + directories.length === 0 ? undefined : { links, directories };
  }

  /** `described`: the attributes of the entry are those that the file has. */
  #make(path: string, entry: TarEntry): "described" | undefined {
    switch (entry.type) {
      case "dir":
        this.#directories.make(path);
        return undefined;
      case "file":
        this.#isToBeMade = true;
        return undefined;
      case "symlink":
        this.#replace(path, () => this.#files.makeSymlink(path, entry.linkPath));
        return undefined;
      case "link":
        return this.#makeLink(path, layerPath(entry.linkPath), entry);
      case "char":
      case "block":
        this.#makeDevice(path, entry);
        return undefined;
      case "fifo":
        this.#replace(path, () => this.#files.makeNode(path, S_IFIFO | 0o600));
        return undefined;
    }
  }

  /** Makes the current file with all of its content. */
  #makeWhole(entry: TarEntry, bytes: Buffer): void {
    const path = this.#path;
    this.#isToBeMade = false;
    this.#current = undefined;
    try {
      this.#replace(path, () => this.#files.makeFile(path, bytes, entry));
      this.#setXattrs(path, entry);
    } catch (cause) {
      throw faultOf(entry, cause);
    }
  }

  /** Makes the current file, unless it is made, for content that comes in pieces. */
  #openFile(): void {
    const entry = this.#current;
    if (!this.#isToBeMade || entry === undefined) return;
    const path = this.#path;
    this.#isToBeMade = false;
    try {
      this.#replace(path, () => this.#files.openFile(path));
    } catch (cause) {
      throw faultOf(entry, cause);
    }
  }

  #makeDevice(path: string, { type, major, minor }: TarEntry): void {
    if (type === "char" && major === 0 && minor === 0) {
      throw brokenArchive(
        `entry "${printable(path)}" is the device 0:0, which is a deleted file in overlayfs`,
      );
    }
    const kind = type === "char" ? S_IFCHR : S_IFBLK;
    this.#replace(path, () => this.#files.makeNode(path, kind | 0o600, { major, minor }));
  }

  #describe(path: string, entry: TarEntry): void {
    const { uid, gid, type, time } = entry;
    const isLink = type === "symlink";
    const isDirectory = type === "dir";
    if (isDirectory) this.#directories.describe(path, time);
    this.#files.setAttributes(path, {
      uid,
      gid,
      mode: isLink ? undefined : entry.mode,
      time: isDirectory ? undefined : time,
    });
    this.#setXattrs(path, entry);
  }

  /** After content and owner: a change of them removes security.capability. */
  #setXattrs(path: string, { xattrs, type }: TarEntry): void {
    for (const [name, value] of xattrs) this.#setXattr(path, name, value, type);
  }

  /** Runs `make`, if necessary after making parents or removing an earlier entry at the path. */
  #replace(path: string, make: () => void): void {
    for (let attempt = 0; ; attempt++) {
      try {
        make();
        return;
      } catch (cause) {
        const code = errnoCode(cause);
        if (attempt === 2) throw cause;
        if (code === "EEXIST") this.#files.remove(path);
        else if (code === "ENOENT" || code === "ENOTDIR") this.#directories.makeParents(path);
        else throw cause;
      }
    }
  }

  /**
   * As in containerd and Docker, the attributes of a hard link are those of the file from then on, where they differ: a
   * change that changes nothing would remove security.capability. Files of lower layers stay as they are.
   */
  #makeLink(path: string, target: string, entry: TarEntry): "described" | undefined {
    const [from, existing] = [this.#files.find(target), this.#files.find(path)];
    if (from === undefined || isWhiteout(from)) {
      this.#linkToLower(path, target);
      return "described";
    }
    // A link to itself would remove its own target.
    if (existing?.ino === from.ino) return "described";
    if (from.isDirectory())
      throw brokenArchive(`"${printable(target)}" is a directory, which cannot have hard links`);
    this.#replace(path, () => this.#files.makeLink(path, target));
    if (this.#lower.has(from.ino)) {
      this.#lower.named(from.ino, this.#realPath(path));
      return "described";
    }
    return from.isSymbolicLink() || hasAttributes(from, entry) ? "described" : undefined;
  }

  #linkToLower(path: string, target: string): void {
    const found = this.#directories.find(target);
    if (found.isHidden)
      throw brokenArchive(`the target "${printable(target)}" of a hard link does not exist`);
    const placeholder = this.#lower.placeholder(found.path);
    this.#replace(path, () => this.#files.makeLink(path, placeholder.path));
    this.#lower.named(placeholder.inode, this.#realPath(path));
  }

  /** The path of an existing entry without symbolic links in its parents. */
  #realPath(path: string): string {
    return `${this.#directories.makeParents(path)}${path.slice(path.lastIndexOf("/"))}`;
  }

  #whiteout(directory: string, name: string): void {
    if (name === OPAQUE) {
      this.#directories.makeOpaque(directory === "" ? "/" : directory);
      return;
    }
    if (name.startsWith(META)) return; // internal files of aufs
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === "" || hidden === "." || hidden === "..") {
      throw brokenArchive("a whiteout has no file name");
    }
    const path = `${directory}/${hidden}`;
    const existing = this.#files.find(path);
    // An entry of this layer hides the lower file already, but a directory would be merged.
    if (existing === undefined) {
      this.#replace(path, () => this.#files.makeNode(path, S_IFCHR));
    } else if (existing.isDirectory()) {
      this.#directories.hideLower(path, existing);
    }
  }

  #setXattr(path: string, name: string, value: string, type: EntryType): void {
    if (name.startsWith("trusted.")) return;
    try {
      this.#files.setXattr(path, name, value);
    } catch (cause) {
      const code = errnoCode(cause);
      // Like other runtimes: drop attributes that the file system, or the type of file, does not support.
      if (code === "EOPNOTSUPP") return;
      if (code === "EPERM" && name.startsWith("user.") && type !== "file" && type !== "dir") return;
      if (code === "E2BIG" || (code === "ENOSPC" && hasFreeSpace())) {
        throw brokenArchive(
          `entry "${printable(path)}" has more attributes than the file system supports: "${printable(name)}" of ${value.length} bytes does not fit (${code})`,
        );
      }
      throw cause;
    }
  }
}

/** Whether an existing entry is as the hard link says. Where its time is not known, it is described again. */
function hasAttributes(info: LayerEntry, { mode, uid, gid, time }: TarEntry): boolean {
  if (info.mtimeMs === undefined || Math.floor(info.mtimeMs / 1000) !== time.seconds) return false;
  return (info.mode & 0o7777) === mode && info.uid === uid && info.gid === gid;
}

/** setxattr(2) fails with ENOSPC on a full disk, on ext4 also when the attributes of one file fill a block. */
function hasFreeSpace(): boolean {
  const { bsize, bavail } = statfsSync("/");
  return bavail * bsize >= FREE_SPACE;
}

function faultOf(entry: TarEntry, cause: unknown): RuntimeError {
  const code = errnoCode(cause);
  if (code === undefined || !archiveFaults.has(code)) {
    return diskFault(`make ${entry.type}`, entry.path, cause);
  }
  const message = cause instanceof Error ? cause.message : code;
  return new RuntimeError(
    "invalid-argument",
    `read layer archive: entry "${printable(entry.path)}" cannot be made: ${message}`,
    { cause },
  );
}

function diskFault(doing: string, path: string, cause: unknown): RuntimeError {
  const text = `${doing} "${printable(path)}"`;
  if (cause instanceof RuntimeError && !(cause instanceof SystemError)) return cause;
  const code = errnoCode(cause);
  if (code !== undefined) return new SystemError(text, code, { cause });
  return new RuntimeError("internal", `${text}: ${String(cause)}`, { cause });
}
