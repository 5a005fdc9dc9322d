import { constants } from "node:fs";

import { RuntimeError } from "../../base/errors.ts";
import { SystemError } from "../../base/system-error.ts";
import type { FileTime } from "../../linux/file/index.ts";
import type { LayerEntry } from "../layer-files.ts";
import { printable } from "../tar-entry.ts";

const { S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT } = constants;
/** As many symbolic links as the kernel follows on one path (path_resolution(7)). */
const MAX_LINKS = 40;
const [NAME_MAX, PATH_MAX] = [255, 4096];
/** About the memory of an entry and of its name in a directory. Bytes. */
const ENTRY_BYTES = 300;
/** The most that the names of a layer may need, within the heap of the unpacker. */
const MAX_MEMORY = 320 * 1024 * 1024;

/** A file, link or device of the layer, or a directory. Its attributes are in the image already, or pending. */
export class TreeEntry implements LayerEntry {
  readonly ino: number;
  /** With the type bits. */
  mode: number;
  /** Of a directory. Those of other entries are in the image. */
  uid = 0;
  gid = 0;
  readonly rdev: number;
  /** Of a symbolic link. */
  readonly target: string;
  links = 1;
  /** The number of its inode in the image; 0 before it is written. */
  number = 0;
  writtenXattrs: ReadonlyMap<string, string> | undefined;

  constructor(ino: number, mode: number, { rdev = 0, target = "" } = {}) {
    this.ino = ino;
    this.mode = mode;
    this.rdev = rdev;
    this.target = target;
  }

  isDirectory(): this is TreeDirectory {
    return (this.mode & S_IFMT) === S_IFDIR;
  }

  isSymbolicLink(): boolean {
    return (this.mode & S_IFMT) === S_IFLNK;
  }

  isCharacterDevice(): boolean {
    return (this.mode & S_IFMT) === S_IFCHR;
  }
}

/** A directory, which is written at the end. */
export class TreeDirectory extends TreeEntry {
  readonly children = new Map<string, TreeEntry>();
  time: FileTime;
  xattrs: Map<string, string> | undefined;

  constructor(ino: number, time: FileTime) {
    super(ino, S_IFDIR | 0o755);
    this.time = time;
  }
}

/** A name in a directory, which need not exist. */
export interface Place {
  readonly directory: TreeDirectory;
  readonly name: string;
}

/** The names of a layer in memory, with the kernel's resolution of paths. */
export class Tree {
  readonly root: TreeDirectory;
  readonly #maxMemory: number;
  #lastIno = 0;
  #memory = 0;
  /** The directory that was resolved last. Most entries of an archive follow one in the same directory. */
  #known: { readonly path: string; readonly directory: TreeDirectory } | undefined;

  /** `time` is that of directories without an entry, `maxMemory` the most that the names may need. */
  constructor(time: FileTime, maxMemory = MAX_MEMORY) {
    this.#maxMemory = maxMemory;
    this.root = new TreeDirectory(this.nextIno(), time);
  }

  nextIno(): number {
    return ++this.#lastIno;
  }

  /** The entry at a path, without following a symbolic link at its end. */
  find(path: string): TreeEntry | undefined {
    const place = this.place(path);
    return place === undefined ? this.root : place.directory.children.get(place.name);
  }

  /** Where a path leads, `undefined` for the root. Throws ENOENT, ENOTDIR, ELOOP or ENAMETOOLONG. */
  place(path: string): Place | undefined {
    if (path === "/" || path === "") return undefined;
    if (path.length >= PATH_MAX) throw failed(path, "ENAMETOOLONG");
    const slash = path.lastIndexOf("/");
    const [parent, name] = [path.slice(0, slash), path.slice(slash + 1)];
    if (name.length > NAME_MAX) throw failed(path, "ENAMETOOLONG");
    if (this.#known?.path !== parent) {
      this.#known = { path: parent, directory: this.#directory(parent) };
    }
    return { directory: this.#known.directory, name };
  }

  /** Adds an entry at a path, where nothing may be. */
  add(path: string, entry: TreeEntry): void {
    const place = this.place(path);
    if (place === undefined) throw failed(path, "EEXIST");
    this.addAt(place, entry);
  }

  /** Adds an entry at a place, where nothing may be. */
  addAt({ directory, name }: Place, entry: TreeEntry): void {
    if (name.length > NAME_MAX) throw failed(name, "ENAMETOOLONG");
    if (directory.children.has(name)) throw failed(name, "EEXIST");
    this.take(ENTRY_BYTES + name.length + entry.target.length);
    directory.children.set(name, entry);
    if (entry.isDirectory()) directory.links++;
  }

  /** Counts memory of names and of attributes of directories. `out-of-range` for too much. */
  take(bytes: number): void {
    this.#memory += bytes;
    if (this.#memory <= this.#maxMemory) return;
    throw new RuntimeError(
      "out-of-range",
      `it has too many files for an EROFS image: their names need more than ${this.#maxMemory} bytes of memory`,
    );
  }

  /** Removes the entry at a path. What was in it is forgotten with it. */
  remove(path: string): TreeEntry {
    const place = this.place(path);
    const entry = place?.directory.children.get(place.name);
    if (place === undefined || entry === undefined) throw failed(path, "ENOENT");
    this.#known = undefined;
    place.directory.children.delete(place.name);
    if (entry.isDirectory()) place.directory.links--;
    return entry;
  }

  #directory(path: string): TreeDirectory {
    let at = this.root;
    const above: TreeDirectory[] = [];
    const rest = path.split("/").reverse();
    let links = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        at = above.pop() ?? this.root;
        continue;
      }
      if (name.length > NAME_MAX) throw failed(path, "ENAMETOOLONG");
      const next = at.children.get(name);
      if (next === undefined) throw failed(path, "ENOENT");
      if (next.isDirectory()) {
        above.push(at);
        at = next;
      } else if (next.isSymbolicLink()) {
        if (++links > MAX_LINKS) throw failed(path, "ELOOP");
        rest.push(...next.target.split("/").reverse());
        if (next.target.startsWith("/")) [at, above.length] = [this.root, 0];
      } else {
        throw failed(path, "ENOTDIR");
      }
    }
    return at;
  }
}

function failed(path: string, code: string): SystemError {
  return new SystemError(`find "${printable(path)}" in the layer`, code);
}
