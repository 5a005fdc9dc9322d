import { RuntimeError } from "../base/errors.ts";
import { errnoCode, SystemError } from "../base/system-error.ts";
import type { FileTime } from "../linux/file/index.ts";
import { isWhiteout, type LayerEntry, type LayerFiles, type LayerWalk } from "./layer-files.ts";
import { printable } from "./tar-entry.ts";
import { brokenArchive } from "./tar-header.ts";

/** The number of directories whose times are set at the end. */
const MAX_DIRECTORIES = 500_000;
/** The number of symbolic links that the kernel follows on one path (path_resolution(7)). */
const MAX_LINKS = 40;
/** The kernel takes no longer path (path_resolution(7)), with its NUL. Bytes. */
const PATH_MAX = 4096;
/**
 * Directories without an entry are reported up to this number and total length of paths: the first ones, which are
 * the topmost, because nothing is below a path that lower layers do not have.
 */
const MAX_IMPLIED = { count: 1000, characters: 128 * 1024 };

/** The result of resolving a path of the archive. */
interface ResolvedPath {
  /** Without symbolic links. */
  readonly path: string;
  /** The layer hides the entry of lower layers at this path. */
  readonly isHidden: boolean;
}

/** The directories of a layer: which have an entry, and which hide those of lower layers. */
export class LayerDirectories {
  /** Whether the layer hides everything below it: overlayfs has no mark for that on a root. */
  isRootOpaque = false;
  readonly #files: LayerFiles;
  readonly #times = new Map<string, { readonly inode: number; readonly time: FileTime }>();
  /** Parents of entries without an entry of their own, by inode. */
  readonly #implied = new Map<number, string>();
  #impliedLength = 0;
  /** Inodes of directories that hide lower ones. */
  readonly #opaque = new Set<number>();

  constructor(files: LayerFiles) {
    this.#files = files;
  }

  /** Makes the directory of an entry. Replaces another kind of file; a directory stays. */
  make(path: string): void {
    if (path === "/") return;
    for (let attempt = 0; ; attempt++) {
      try {
        this.#files.makeDirectory(path);
        return;
      } catch (cause) {
        if (errnoCode(cause) === "EEXIST") {
          this.#replace(path);
          return;
        }
        if (attempt === 1) throw cause;
        this.makeParents(path);
      }
    }
  }

  /**
   * Makes the parents of `path`, of root and with mode 0755, as containerd does. A symbolic link
   * among them is followed inside the layer; a missing target
   * is made. Returns the path of the parent without links, empty for the root.
   */
  makeParents(path: string): string {
    return this.#walk(path.slice(0, path.lastIndexOf("/")), "make").path;
  }

  /** Resolves a path in this layer, which need not exist. */
  find(path: string): ResolvedPath {
    return this.#walk(path, "find");
  }

  /** Records that an entry describes the directory. */
  describe(path: string, time: FileTime): void {
    const inode = this.#inodeOf(path);
    this.#implied.delete(inode);
    this.#times.set(path, { inode, time });
    if (this.#times.size > MAX_DIRECTORIES) {
      throw new RuntimeError(
        "resource-exhausted",
        `unpack layer: it has more than ${MAX_DIRECTORIES} directories`,
      );
    }
  }

  /** Lets the directory, which is made if missing, hide everything that lower layers have in it. */
  makeOpaque(path: string): void {
    if (path === "/") this.isRootOpaque = true;
    this.#hide(this.makeParents(`${path}/x`) || "/");
  }

  /** Lets this directory replace the one of lower layers. */
  hideLower(path: string, info: LayerEntry): void {
    this.#implied.delete(info.ino);
    this.#hide(path);
  }

  /** Sets the times at the end, because each new entry in a directory changes them. */
  setTimes(): void {
    for (const [path, { inode, time }] of this.#times) {
      const info = this.#files.find(path);
      if (info?.isDirectory() !== true || info.ino !== inode) continue; // replaced later
      this.#files.setAttributes(path, {
        uid: info.uid,
        gid: info.gid,
        mode: info.mode & 0o7777,
        time,
      });
    }
  }

  /** The directories without an entry that lower layers may have, parents first. */
  implied(): readonly string[] {
    return [...this.#implied].flatMap(([inode, path]) => {
      const info = this.#files.find(path);
      return info?.isDirectory() === true && info.ino === inode ? [path] : [];
    });
  }

  #inodeOf(path: string): number {
    const entry = this.#files.find(path);
    if (entry === undefined) throw new SystemError(`find "${printable(path)}"`, "ENOENT");
    return entry.ino;
  }

  #imply(path: string, inode: number): void {
    this.#impliedLength += path.length;
    const { count, characters } = MAX_IMPLIED;
    if (this.#implied.size === count || this.#impliedLength > characters) return;
    this.#implied.set(inode, path);
  }

  #hide(path: string): void {
    this.#files.setXattr(path, "trusted.overlay.opaque", "y");
    this.#opaque.add(this.#inodeOf(path));
  }

  /** A directory that replaces a whiteout still hides the content of the lower one. */
  #replace(path: string): void {
    const existing = this.#files.find(path);
    if (existing?.isDirectory() === true) return;
    this.#files.remove(path);
    this.#files.makeDirectory(path);
    if (existing !== undefined && isWhiteout(existing)) this.#hide(path);
  }

  /** Takes time in proportion to the bytes of the names, those of links included, and not to the depth of each. */
  #walk(path: string, how: "make" | "find"): ResolvedPath {
    const rest = reversed(path);
    let links = 0;
    let at: ResolvedPath = this.#root();
    const above: ResolvedPath[] = [];
    const walk = this.#files.walk();
    /** How many of the last names are not those of directories: nothing is below them. */
    let missing = 0;
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      if (part === "..") {
        at = above.pop() ?? this.#root();
        if (missing > 0) missing--;
        else walk.up();
        continue;
      }
      const next = `${at.path}/${part}`;
      if (next.length >= PATH_MAX)
        throw new SystemError("walk a path in the layer", "ENAMETOOLONG");
      const existing = missing > 0 ? undefined : walk.find(part);
      if (existing?.isSymbolicLink() !== true) {
        above.push(at);
        const isHidden = this.#step({ walk, name: part, path: next }, existing, at.isHidden, how);
        at = { path: next, isHidden };
        if (how === "make" || existing?.isDirectory() === true) walk.enter(part);
        else missing++;
        continue;
      }
      if (++links > MAX_LINKS) {
        throw brokenArchive(`"${printable(path)}" leads through too many symbolic links`);
      }
      const target = walk.readLink(part);
      rest.push(...reversed(target));
      if (!target.startsWith("/")) continue;
      at = this.#root();
      walk.top();
      above.length = 0;
    }
    return at;
  }

  #root(): ResolvedPath {
    return { path: "", isHidden: this.isRootOpaque };
  }

  /** Makes the directory, unless it is only to be found. Returns whether the layer hides the lower entry there. */
  #step(
    { walk, name, path }: { walk: LayerWalk; name: string; path: string },
    existing: LayerEntry | undefined,
    isHidden: boolean,
    how: "make" | "find",
  ): boolean {
    if (existing?.isDirectory() === true) return isHidden || this.#opaque.has(existing.ino);
    if (how === "find") return isHidden || existing !== undefined;
    if (existing === undefined) {
      walk.makeDirectory(name);
      if (!isHidden) this.#imply(path, walk.find(name)?.ino ?? 0);
      return isHidden;
    }
    if (!isWhiteout(existing)) throw brokenArchive(`"${printable(path)}" is not a directory`);
    this.#replace(path);
    return true;
  }
}

/** The names of a path, the last one first. */
function reversed(path: string): string[] {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  return names.reverse();
}
