import { constants } from "node:fs";

import { SystemError } from "../../base/system-error.ts";
import type { FileAttributes, FileTime } from "../../linux/file/index.ts";
import { type LayerEntry, type LayerFiles, type LayerWalk, refuseRoot } from "../layer-files.ts";
import { printable } from "../tar-entry.ts";
import { writeDirectories } from "./directories.ts";
import { ContentWriter, type FileContent } from "./file-content.ts";
import {
  type ChangedFields,
  changeInode,
  encodeDevice,
  INODE,
  LINKS,
  mapChunks,
  numberAt,
  writeInode,
} from "./format.ts";
import { BLOCK, ImageFile, SLOT } from "./image-file.ts";
import { Tree, TreeDirectory, TreeEntry } from "./tree.ts";
import { TreeWalk } from "./tree-walk.ts";
import { addXattr, sizeOfXattrs } from "./xattrs.ts";

const { S_IFLNK, S_IFMT, S_IFREG } = constants;
/** Nothing is at a path with these errors. */
const absent: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);
const noContent: FileContent = { size: 0, firstBlock: 0, tail: Buffer.alloc(0), holes: [] };

/** What can be described. A directory can at any time. */
interface Described {
  uid: number;
  gid: number;
  time: FileTime;
  xattrs: Map<string, string> | undefined;
}

/** The entry that was made last, while its attributes can change. */
interface Pending extends Described {
  readonly entry: TreeEntry;
  content: FileContent;
}

/**
 * The files of a layer in an EROFS image (Documentation/filesystems/erofs.rst): names are in memory until the end,
 * content and inodes are written as they come, so that nothing is read or written twice. Not compressed.
 *
 * The memory is bounded: `out-of-range` for a layer with too many names, which can be a directory.
 */
export class ErofsFiles implements LayerFiles {
  readonly #image: ImageFile;
  readonly #content: ContentWriter;
  readonly #tree: Tree;
  readonly #now: FileTime;
  #pending: Pending | undefined;
  #isOpen = false;
  /** Entries whose number of links changed after they were written. */
  readonly #relinked = new Set<TreeEntry>();
  /** What hard links say of files that were written before. */
  readonly #changed = new Map<TreeEntry, ChangedFields>();
  #inodes = 0;
  #hasChunks = false;

  /**
   * Writes into an open, empty file. `now` is the time of what has no time in the archive, `maxNames` the most memory
   * for names in bytes, if not the default.
   */
  constructor(
    file: number,
    now: FileTime = { seconds: Math.floor(Date.now() / 1000), nanoseconds: 0 },
    maxNames?: number,
  ) {
    this.#image = new ImageFile(file);
    this.#content = new ContentWriter(this.#image);
    this.#now = now;
    this.#tree = new Tree(now, maxNames);
  }

  walk(): LayerWalk {
    return new TreeWalk(this.#tree, this.#now);
  }

  find(path: string): LayerEntry | undefined {
    try {
      return this.#tree.find(path);
    } catch (cause) {
      const isAbsent = cause instanceof SystemError && absent.has(cause.code);
      if (isAbsent) return undefined;
      throw cause;
    }
  }

  readLink(path: string): string {
    return this.#tree.find(path)?.target ?? "";
  }

  makeDirectory(path: string): void {
    this.#tree.add(path, new TreeDirectory(this.#tree.nextIno(), this.#now));
  }

  makeSymlink(path: string, target: string): void {
    const entry = new TreeEntry(this.#tree.nextIno(), S_IFLNK | 0o777, { target });
    const tail = Buffer.from(target, "latin1");
    this.#add(path, entry, { ...noContent, size: tail.length, tail });
  }

  makeLink(path: string, target: string): void {
    const entry = this.#tree.find(target);
    if (entry === undefined) throw new SystemError(`link to "${printable(target)}"`, "ENOENT");
    this.#tree.add(path, entry);
    this.#changeLinks(entry, 1);
  }

  makeNode(path: string, mode: number, device = { major: 0, minor: 0 }): void {
    const rdev = encodeDevice(device.major, device.minor);
    this.#add(path, new TreeEntry(this.#tree.nextIno(), mode, { rdev }), noContent);
  }

  makeFile(path: string, bytes: Buffer, attributes: FileAttributes): void {
    this.openFile(path);
    this.write(bytes);
    this.closeFile();
    this.setAttributes(path, attributes);
  }

  openFile(path: string): void {
    this.#add(path, new TreeEntry(this.#tree.nextIno(), S_IFREG | 0o600), noContent);
    this.#content.begin();
    this.#isOpen = true;
  }

  write(bytes: Buffer): void {
    if (this.#isOpen) this.#content.write(bytes);
  }

  hole(bytes: number): void {
    if (this.#isOpen) this.#content.hole(bytes);
  }

  closeFile(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#pending !== undefined) this.#pending.content = this.#content.end();
  }

  setAttributes(path: string, { uid, gid, mode, time }: FileAttributes): void {
    const written = this.#written(path);
    if (written !== undefined) {
      if (mode !== undefined) written.mode = (written.mode & S_IFMT) | mode;
      this.#changed.set(written, { mode: written.mode, uid, gid, time });
      return;
    }
    const { entry, described } = this.#describable(path);
    described.uid = uid;
    described.gid = gid;
    if (time !== undefined) described.time = time;
    if (mode !== undefined) entry.mode = (entry.mode & S_IFMT) | mode;
  }

  setXattr(path: string, name: string, value: string): void {
    const written = this.#written(path);
    if (written !== undefined) {
      if (written.writtenXattrs?.get(name) === value) return;
      throw new SystemError(`set "${name}" of "${printable(path)}" in the layer`, "EOPNOTSUPP");
    }
    const { entry, described } = this.#describable(path);
    described.xattrs ??= new Map();
    addXattr(described.xattrs, entry, name, value);
    if (entry.isDirectory()) this.#tree.take(2 * (name.length + value.length));
  }

  remove(path: string): void {
    refuseRoot(path);
    this.#unlink(this.#tree.remove(path));
  }

  finish(): void {
    this.#writePending();
    const inodes = this.#inodes;
    writeDirectories(this.#image, this.#tree.root, { inodes, hasChunks: this.#hasChunks });
    const count = Buffer.alloc(4);
    for (const { number, links } of this.#relinked) {
      count.writeUInt32LE(links, 0);
      this.#image.writeAt(number * SLOT + LINKS, count);
    }
    for (const [{ number }, fields] of this.#changed) changeInode(this.#image, number, fields);
  }

  #add(path: string, entry: TreeEntry, content: FileContent): void {
    this.#tree.add(path, entry);
    this.#writePending();
    this.#pending = { entry, content, uid: 0, gid: 0, time: this.#now, xattrs: undefined };
  }

  /** A file whose inode is in the image already. */
  #written(path: string): TreeEntry | undefined {
    const entry = this.#tree.find(path);
    return entry !== undefined && entry.number > 0 && !entry.isDirectory() ? entry : undefined;
  }

  #describable(path: string): { readonly entry: TreeEntry; readonly described: Described } {
    const entry = this.#tree.find(path);
    if (entry?.isDirectory() === true) return { entry, described: entry };
    const pending = this.#pending;
    if (entry !== undefined && pending?.entry === entry) return { entry, described: pending };
    throw new SystemError(`describe "${printable(path)}" in the layer`, "ENOENT");
  }

  #unlink(entry: TreeEntry): void {
    if (!entry.isDirectory()) {
      this.#changeLinks(entry, -1);
      return;
    }
    const directories = [entry];
    for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
      for (const child of next.children.values()) {
        if (child.isDirectory()) directories.push(child);
        else this.#changeLinks(child, -1);
      }
    }
  }

  #changeLinks(entry: TreeEntry, by: 1 | -1): void {
    entry.links += by;
    if (entry.number > 0) this.#relinked.add(entry);
  }

  /** Writes the entry that was made last: nothing describes it any more. */
  #writePending(): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === undefined || pending.entry.links === 0) return;
    const { entry, content, xattrs } = pending;
    if (xattrs !== undefined && xattrs.size > 0) {
      for (const [name, value] of xattrs) this.#tree.take(2 * (name.length + value.length));
      entry.writtenXattrs = xattrs;
    }
    const { mode, links, rdev } = entry;
    const base = INODE + sizeOfXattrs(xattrs);
    const stored = this.#store(content, base);
    const { address, bytes } = this.#image.metadata(base + stored.inline.length);
    const { layout } = stored;
    const isDevice = rdev !== 0;
    const where = isDevice ? rdev : stored.where;
    const fields = { ...pending, mode, links, size: content.size, layout, where };
    stored.inline.copy(bytes, writeInode(fields, address, bytes));
    entry.number = numberAt(address);
    this.#inodes++;
  }

  /** Decides where the end of the content goes: `inline` follows the inode and its attributes of `base` bytes. */
  #store({ size, firstBlock, tail, holes }: FileContent, base: number): Stored {
    const need = base + tail.length;
    if (holes.length > 0) {
      this.#appendTail(tail);
      this.#hasChunks = true;
      const { map, format } = mapChunks(size, firstBlock, holes);
      return { layout: "chunks", where: format, inline: map };
    }
    if (tail.length === 0) return { layout: "plain", where: firstBlock, inline: tail };
    const room = this.#image.roomInBlock;
    // Room that is left in a block is lost.
    const isSmaller = need <= room || room + need <= BLOCK + INODE;
    const where = size < BLOCK ? this.#image.position / BLOCK : firstBlock;
    if (need <= BLOCK && isSmaller) return { layout: "inline", where, inline: tail };
    this.#appendTail(tail);
    return { layout: "plain", where, inline: noContent.tail };
  }

  #appendTail(tail: Buffer): void {
    this.#image.append(tail);
    this.#image.pad();
  }
}

/** Where the content of a file is. */
interface Stored {
  readonly layout: "plain" | "inline" | "chunks";
  readonly where: number;
  readonly inline: Buffer;
}
