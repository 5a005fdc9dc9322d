import type { FileAttributes } from "../linux/file/index.ts";
import { printable } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";

/** What the unpacker knows of an existing entry of a layer; node:fs' `Stats` has it. */
export interface LayerEntry {
  readonly ino: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  /** Undefined where it is not known any more. */
  readonly mtimeMs?: number;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isCharacterDevice(): boolean;
}

/**
 * A directory of a layer, from which a path is walked name by name, so that the cost of a step does not depend on the
 * depth. Names are never `.` or `..`, and no symbolic link is followed. Failures are those of {@link LayerFiles}.
 */
export interface LayerWalk {
  /** The entry of this name in the directory. */
  find(name: string): LayerEntry | undefined;
  /** The target of a symbolic link in the directory. */
  readLink(name: string): string;
  /** Makes a directory with mode 0755 in the directory. */
  makeDirectory(name: string): void;
  /** Moves to a directory in the directory. */
  enter(name: string): void;
  /** Moves to the parent; from the root to the root. */
  up(): void;
  /** Moves to the root. */
  top(): void;
}

/**
 * The files of a layer while it is unpacked: on a disk, or in an image of a file system. Paths are byte strings
 * that begin with `/`, the layer's root; symbolic links in them are followed inside the layer, one at the end is not.
 * Failures have the errno of the system call (`code`): ENOENT, ENOTDIR, EEXIST, ELOOP, ENAMETOOLONG.
 */
export interface LayerFiles {
  /** A walk that begins at the root, and ends at the next one and at the next `remove`. */
  walk(): LayerWalk;
  /** The entry at a path. `undefined` also when a component of the path is not a directory. */
  find(path: string): LayerEntry | undefined;
  /** The target of a symbolic link. */
  readLink(path: string): string;
  /** Makes a directory with mode 0755. */
  makeDirectory(path: string): void;
  makeSymlink(path: string, target: string): void;
  makeLink(path: string, target: string): void;
  /** Makes a device or a FIFO; `mode` has the type bits. */
  makeNode(path: string, mode: number, device?: { major: number; minor: number }): void;
  /** Makes a file with all of its content and its attributes. */
  makeFile(
    path: string,
    bytes: Buffer,
    attributes: FileAttributes & { readonly mode: number },
  ): void;
  /** Makes a file. The next `write` and `hole` fill it, in order, until `closeFile`. */
  openFile(path: string): void;
  write(bytes: Buffer): void;
  hole(bytes: number): void;
  /** Ends the open file, if there is one. */
  closeFile(): void;
  /** Sets the attributes of an entry. */
  setAttributes(path: string, attributes: FileAttributes): void;
  /**
   * Sets an extended attribute of a directory, or of the entry that was made last; EOPNOTSUPP for another one that
   * does not have it yet, in an image.
   */
  setXattr(path: string, name: string, value: string): void;
  /** Removes the entry at the path with everything in it. */
  remove(path: string): void;
  /** Ends the layer. No other call may follow. */
  finish(): void;
}

/**
 * The absolute path in the layer for a name in the archive. Throws `invalid-argument`
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

/** A whiteout hides a file of a lower layer in overlayfs: a character device 0:0 (overlayfs.rst). */
export function isWhiteout(info: LayerEntry): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}

/** Throws for the layer's root, which no entry replaces. */
export function refuseRoot(path: string): void {
  if (path === "/") throw brokenArchive("an entry would replace the layer's root");
}
