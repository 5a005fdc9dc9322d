import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  type Stats,
  statfsSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";

import { RuntimeError } from "../base/errors.ts";
import {
  errnoCode,
  type FileTime,
  makeNode,
  SystemError,
  setAttributes,
  setXattr,
} from "../linux/index.ts";
import { printable, type TarEntry } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";
import type { TarSink } from "./tar-reader.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY, S_IFBLK, S_IFCHR, S_IFIFO } = constants;
/** Marks in an archive that hide files of lower layers (image-spec, layer.md). */
const WHITEOUT = ".wh.";
const META = ".wh..wh.";
const OPAQUE = ".wh..wh..opq";
/** Folders whose times are kept until the end. */
const MAX_FOLDERS = 500_000;
/** A file system with so much space left did not refuse an attribute for want of it. */
const ROOM = 1024 * 1024;
/** Errnos by which the kernel says that the archive, and not the machine, is at fault. */
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

/**
 * Makes the files of a layer below `/`, which must be the layer's own folder (chroot): no name and
 * no symbolic link then leads out of it. A symbolic link on the way to an entry is followed inside.
 *
 * An entry that replaces an earlier one takes its place, whole. Whiteouts become what overlayfs
 * reads (overlayfs.rst): a character device 0:0, or `trusted.overlay.opaque` of a folder. They never
 * hide what this same layer brings, and no entry of another type becomes one. Attributes `trusted.*` of
 * the archive are left out: the kernel would take them for its own.
 */
export class LayerWriter implements TarSink {
  /** Whether the layer hides everything below it: overlayfs has no mark for that on a root. */
  isRootOpaque = false;
  readonly #folders = new Map<string, { readonly inode: number; readonly time: FileTime }>();
  #current: TarEntry | undefined;
  #path = "";
  #file: number | undefined;
  /** Where the next bytes of the file go, and how far it reaches already. */
  #position = 0;
  #written = 0;

  entry(entry: TarEntry): void {
    const path = layerPath(entry.path);
    const slash = path.lastIndexOf("/");
    const name = path.slice(slash + 1);
    this.#current = undefined;
    try {
      if (name.startsWith(WHITEOUT)) {
        this.#whiteout(path.slice(0, slash), name);
        return;
      }
      this.#path = path;
      this.#make(path, entry);
      this.#current = entry;
    } catch (cause) {
      throw faultOf(entry, cause);
    }
  }

  data(bytes: Buffer): void {
    if (this.#file === undefined) return; // an ignored entry, such as .wh..wh.aufs
    try {
      for (let at = 0; at < bytes.length; ) {
        const count = writeSync(this.#file, bytes, at, undefined, this.#position);
        at += count;
        this.#position += count;
      }
      this.#written = this.#position;
    } catch (cause) {
      throw diskFault("write file", this.#path, cause);
    }
  }

  hole(bytes: number): void {
    this.#position += bytes;
  }

  endEntry(): void {
    if (this.#file !== undefined) this.#closeFile(this.#file);
    this.#file = undefined;
    const entry = this.#current;
    this.#current = undefined;
    // A hard link's attributes are those of the file, which came with an entry of its own.
    if (entry === undefined || entry.type === "link") return;
    try {
      this.#describe(this.#path, entry);
    } catch (cause) {
      throw faultOf(entry, cause);
    }
  }

  /** Sets the times of folders, which change with each entry that is made in them. */
  finish(): void {
    for (const [path, { inode, time }] of this.#folders) {
      const info = look(path);
      if (info?.isDirectory() !== true || info.ino !== inode) continue; // replaced later
      setAttributes(path, { uid: info.uid, gid: info.gid, mode: info.mode & 0o7777, time });
    }
  }

  #closeFile(file: number): void {
    try {
      if (this.#position > this.#written) ftruncateSync(file, this.#position);
    } catch (cause) {
      throw diskFault("write file", this.#path, cause);
    } finally {
      closeSync(file);
    }
  }

  #make(path: string, entry: TarEntry): void {
    switch (entry.type) {
      case "dir":
        this.#makeFolder(path);
        return;
      case "file":
        this.#place(path, () => {
          this.#file = openSync(onDisk(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
        });
        this.#position = 0;
        this.#written = 0;
        return;
      case "symlink":
        this.#place(path, () => symlinkSync(onDisk(entry.linkPath), onDisk(path)));
        return;
      case "link":
        this.#makeLink(path, layerPath(entry.linkPath));
        return;
      case "char":
      case "block":
        this.#makeDevice(path, entry);
        return;
      case "fifo":
        this.#place(path, () => makeNode(path, S_IFIFO | 0o600));
    }
  }

  #makeDevice(path: string, { type, major, minor }: TarEntry): void {
    if (type === "char" && major === 0 && minor === 0) {
      throw brokenArchive(
        `entry "${printable(path)}" is the device 0:0, which overlayfs takes for a deleted file`,
      );
    }
    const kind = type === "char" ? S_IFCHR : S_IFBLK;
    this.#place(path, () => makeNode(path, kind | 0o600, major, minor));
  }

  #describe(path: string, entry: TarEntry): void {
    const { uid, gid, type, time } = entry;
    const isLink = type === "symlink";
    const isFolder = type === "dir";
    if (isFolder) this.#keepTime(path, time);
    setAttributes(path, {
      uid,
      gid,
      mode: isLink ? undefined : entry.mode,
      time: isFolder ? undefined : time,
    });
    // After the owner: a change of owner takes security.capability away.
    for (const [name, value] of entry.xattrs) setArchiveXattr(path, name, value, type);
  }

  #keepTime(path: string, time: FileTime): void {
    const inode = lstatSync(onDisk(path)).ino;
    this.#folders.set(path, { inode, time });
    if (this.#folders.size > MAX_FOLDERS) {
      throw new RuntimeError(
        "resource-exhausted",
        `unpack layer: it has more than ${MAX_FOLDERS} folders`,
      );
    }
  }

  /** Runs `make`, after making room: missing parents, or an earlier entry at the place. */
  #place(path: string, make: () => void): void {
    for (let attempt = 0; ; attempt++) {
      try {
        make();
        return;
      } catch (cause) {
        const code = errnoCode(cause);
        if (attempt === 2) throw cause;
        if (code === "EEXIST") removeEntry(path);
        else if (code === "ENOENT" || code === "ENOTDIR") makeParents(path);
        else throw cause;
      }
    }
  }

  #makeFolder(path: string): void {
    if (path === "/") return;
    try {
      mkdirSync(onDisk(path), 0o755);
    } catch (cause) {
      if (errnoCode(cause) === "EEXIST") {
        replaceByFolder(path);
        return;
      }
      makeParents(path);
      mkdirSync(onDisk(path), 0o755);
    }
  }

  #makeLink(path: string, target: string): void {
    const [from, there] = [look(target), look(path)];
    if (from === undefined || isWhiteout(from)) {
      throw brokenArchive(`there is no "${printable(target)}" to link to`);
    }
    // A link to itself would remove its target to make room.
    if (there?.ino === from.ino) return;
    if (from.isDirectory())
      throw brokenArchive(`"${printable(target)}" is a folder: no hard links`);
    this.#place(path, () => linkSync(onDisk(target), onDisk(path)));
  }

  #whiteout(folder: string, name: string): void {
    if (name === OPAQUE) {
      if (folder === "") this.isRootOpaque = true;
      this.#makeFolderThere(folder === "" ? "/" : folder);
      return;
    }
    if (name.startsWith(META)) return; // aufs' own files
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === "" || hidden === "." || hidden === "..") {
      throw brokenArchive("it is a whiteout of no file");
    }
    const path = `${folder}/${hidden}`;
    const there = look(path);
    // What this layer brings at the name hides the lower file already, but a folder would merge.
    if (there === undefined) {
      this.#place(path, () => makeNode(path, S_IFCHR, 0, 0));
    } else if (there.isDirectory()) {
      makeOpaque(path);
    }
  }

  #makeFolderThere(path: string): void {
    // "/." so that a symbolic link is followed: the mark belongs to the folder.
    if (look(`${path}/.`) === undefined) this.#makeFolder(path);
    makeOpaque(`${path}/.`);
  }
}

/**
 * The absolute path inside the layer that a name of the archive means. Throws `invalid-argument`
 * when it leads out of the layer.
 */
export function layerPath(name: string): string {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) {
      throw brokenArchive(`"${printable(name)}" leads out of the layer`);
    }
  }
  return `/${parts.join("/")}`;
}

/** A byte string as node:fs takes it; names of plain ASCII stay strings, which is faster. */
function onDisk(path: string): string | Buffer {
  return /^[\x01-\x7f]*$/.test(path) ? path : Buffer.from(path, "latin1");
}

/** `undefined` also when the way there leads through something that is no folder. */
function look(path: string): Stats | undefined {
  try {
    return lstatSync(onDisk(path), { throwIfNoEntry: false });
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOTDIR" || code === "ELOOP") return undefined;
    throw cause;
  }
}

function isWhiteout(info: Stats): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}

function makeOpaque(folder: string): void {
  setXattr(folder, "trusted.overlay.opaque", "y");
}

/** A whiteout that a folder takes the place of still hides what is in the lower one. */
function replaceByFolder(path: string): void {
  const there = look(path);
  if (there?.isDirectory() === true) return;
  unlinkSync(onDisk(path));
  mkdirSync(onDisk(path), 0o755);
  if (there !== undefined && isWhiteout(there)) makeOpaque(path);
}

/** The folders on the way to an entry that no entry made: of root, 0755. */
function makeParents(path: string): void {
  for (let slash = path.indexOf("/", 1); slash > 0; slash = path.indexOf("/", slash + 1)) {
    const parent = path.slice(0, slash);
    try {
      mkdirSync(onDisk(parent), 0o755);
    } catch (cause) {
      if (errnoCode(cause) !== "EEXIST") throw cause;
      const there = look(parent);
      if (there !== undefined && isWhiteout(there)) replaceByFolder(parent);
    }
  }
}

function removeEntry(path: string): void {
  if (path === "/") throw brokenArchive("an entry would replace the layer's root");
  if (look(path)?.isDirectory() !== true) {
    unlinkSync(onDisk(path));
    return;
  }
  for (const name of readdirSync(onDisk(path), { encoding: "latin1" }))
    removeEntry(`${path}/${name}`);
  rmdirSync(onDisk(path));
}

function setArchiveXattr(path: string, name: string, value: string, type: string): void {
  if (name.startsWith("trusted.")) return;
  try {
    setXattr(path, name, value);
  } catch (cause) {
    const code = errnoCode(cause);
    // As others: what the file system, or the kind of file, cannot have is left out.
    if (code === "EOPNOTSUPP") return;
    if (code === "EPERM" && name.startsWith("user.") && type !== "file" && type !== "dir") return;
    if (code === "E2BIG" || (code === "ENOSPC" && hasRoom())) {
      throw brokenArchive(
        `entry "${printable(path)}" has more attributes than the file system holds: "${printable(name)}", ${value.length} bytes, does not fit (${code})`,
      );
    }
    throw cause;
  }
}

/** setxattr(2) says ENOSPC for a full disk, and ext4 also for a full block of one file's attributes. */
function hasRoom(): boolean {
  const { bsize, bavail } = statfsSync("/");
  return bavail * bsize >= ROOM;
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
