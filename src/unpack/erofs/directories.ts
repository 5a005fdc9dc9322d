import { randomBytes } from "node:crypto";
import { constants } from "node:fs";

import { brokenArchive } from "../tar-header.ts";
import {
  firstBlock,
  INODE,
  type InodeFields,
  numberAt,
  ROOT_ROOM,
  rootNumber,
  writeInode,
} from "./format.ts";
import { BLOCK, type ImageFile, SLOT } from "./image-file.ts";
import type { TreeDirectory, TreeEntry } from "./tree.ts";
import { sizeOfXattrs } from "./xattrs.ts";

const { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } = constants;
/** struct erofs_dirent, without the name. */
const ENTRY = 12;
/** FT_* of the kernel (linux/fs_types.h). */
const types: ReadonlyMap<number, number> = new Map([
  [S_IFREG, 1],
  [S_IFDIR, 2],
  [S_IFCHR, 3],
  [S_IFBLK, 4],
  [S_IFIFO, 5],
  [S_IFLNK, 7],
]);

/** A directory with the layout of its content: names in the order of their bytes, in blocks. */
interface Planned {
  readonly directory: TreeDirectory;
  readonly parent: TreeDirectory;
  readonly names: readonly string[];
  /** For each block, the number of the name after its last one. */
  readonly ends: readonly number[];
  readonly size: number;
  /** Whether the last block follows the inode. */
  readonly isInline: boolean;
  /** Bytes of the inode, its attributes and what follows it. */
  readonly inodeBytes: number;
  address: number;
  firstBlock: number;
}

/**
 * Writes all directories and the first block, which ends an image: the inodes first, with the last block of names
 * if it fits, then the other blocks of names. All numbers are known before the first one is written.
 */
export function writeDirectories(
  image: ImageFile,
  root: TreeDirectory,
  facts: { readonly inodes: number; readonly hasChunks: boolean },
): void {
  image.endMetadata();
  const plans = planAll(root);
  place(plans, image.position);
  for (const plan of plans) {
    if (plan.directory === root) continue;
    image.zeros(plan.address - image.position);
    const bytes = Buffer.alloc(plan.inodeBytes);
    const at = writeInode(fieldsOf(plan), plan.address, bytes);
    if (plan.isInline) encode(plan, plan.ends.length - 1).copy(bytes, at);
    image.append(bytes);
  }
  image.pad();
  for (const plan of plans) {
    for (let block = 0; block < storedBlocks(plan); block++) {
      image.append(encode(plan, block));
      image.pad();
    }
  }
  const [top] = plans;
  if (top === undefined) return;
  const inline = top.isInline ? encode(top, top.ends.length - 1) : Buffer.alloc(0);
  const inodes = facts.inodes + plans.length;
  image.finish((blocks) =>
    firstBlock({ ...facts, blocks, inodes, uuid: randomBytes(16) }, fieldsOf(top), inline),
  );
}

/** The root first, then each directory after its parent. */
function planAll(root: TreeDirectory): readonly Planned[] {
  const plans: Planned[] = [];
  const rest: { directory: TreeDirectory; parent: TreeDirectory }[] = [
    { directory: root, parent: root },
  ];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const room = next.directory === root ? ROOT_ROOM : BLOCK;
    plans.push(plan(next.directory, next.parent, room));
    for (const child of next.directory.children.values()) {
      if (child.isDirectory()) rest.push({ directory: child, parent: next.directory });
    }
  }
  return plans;
}

function plan(directory: TreeDirectory, parent: TreeDirectory, room: number): Planned {
  const names = [".", "..", ...directory.children.keys()].sort();
  const ends: number[] = [];
  let used = 0;
  for (const [at, name] of names.entries()) {
    const need = ENTRY + name.length;
    if (used + need > BLOCK) {
      ends.push(at);
      used = 0;
    }
    used += need;
  }
  ends.push(names.length);
  const base = INODE + sizeOfXattrs(directory.xattrs);
  if (room < BLOCK && base > room) {
    throw brokenArchive("the root directory has more attributes than an EROFS image supports");
  }
  const isInline = base + used <= room;
  return {
    directory,
    parent,
    names,
    ends,
    size: (ends.length - 1) * BLOCK + used,
    isInline,
    inodeBytes: isInline ? base + used : base,
    address: 0,
    firstBlock: 0,
  };
}

/** Decides where everything goes, from a position on: no inode of less than a block is in two blocks. */
function place(plans: readonly Planned[], start: number): void {
  let at = start;
  for (const plan of plans) {
    if (plan.address === 0 && plan.directory === plan.parent) {
      plan.directory.number = rootNumber;
      continue;
    }
    const room = BLOCK - (at % BLOCK);
    if (plan.inodeBytes > room && (plan.inodeBytes <= BLOCK || room < INODE)) at += room;
    plan.address = at;
    plan.directory.number = numberAt(at);
    at += Math.ceil(plan.inodeBytes / SLOT) * SLOT;
  }
  at = Math.ceil(at / BLOCK);
  for (const plan of plans) {
    plan.firstBlock = at;
    at += storedBlocks(plan);
  }
}

function storedBlocks({ ends, isInline }: Planned): number {
  return isInline ? ends.length - 1 : ends.length;
}

function fieldsOf({ directory, size, isInline, firstBlock: where }: Planned): InodeFields {
  const { mode, uid, gid, time, xattrs } = directory;
  const layout = isInline ? "inline" : "plain";
  const links = directory.links + 1; // its own "."
  return { mode, uid, gid, time, links, size, layout, where, xattrs };
}

/** A block of names: the entries, then the names. */
function encode({ directory, parent, names, ends }: Planned, block: number): Buffer {
  const [from, to] = [block === 0 ? 0 : (ends[block - 1] ?? 0), ends[block] ?? 0];
  const bytes = Buffer.alloc(BLOCK);
  let nameAt = (to - from) * ENTRY;
  for (let n = from; n < to; n++) {
    const name = names[n] ?? "";
    const entry = childOf(directory, parent, name);
    const at = (n - from) * ENTRY;
    const number = entry?.number ?? 0;
    bytes.writeUInt32LE(number % 2 ** 32, at);
    bytes.writeUInt32LE(Math.floor(number / 2 ** 32), at + 4);
    bytes.writeUInt16LE(nameAt, at + 8);
    bytes[at + 10] = types.get((entry?.mode ?? 0) & S_IFMT) ?? 0;
    nameAt += bytes.write(name, nameAt, "latin1");
  }
  return bytes.subarray(0, nameAt);
}

function childOf(
  directory: TreeDirectory,
  parent: TreeDirectory,
  name: string,
): TreeEntry | undefined {
  if (name === ".") return directory;
  return name === ".." ? parent : directory.children.get(name);
}
