import type { FileTime } from "../../linux/file/index.ts";
import { BLOCK, type ImageFile, SLOT } from "./image-file.ts";
import { sizeOfXattrs, writeXattrs, type Xattrs } from "./xattrs.ts";

/** Where the superblock and the root directory's inode are (fs/erofs/erofs_fs.h). */
const SUPERBLOCK = 1024;
const ROOT = SUPERBLOCK + 128;
/** struct erofs_inode_extended: the other form has no times and 16 bits for ids. */
export const INODE = 64;
/** Bytes for the root directory's inode and what is inline in it. */
export const ROOT_ROOM = BLOCK - ROOT;
/** Where an inode has its count of links. */
export const LINKS = 44;
const MAGIC = 0xe0f5e1e2;
/** EROFS_FEATURE_COMPAT_MTIME, EROFS_FEATURE_INCOMPAT_CHUNKED_FILE. */
const [HAS_MTIME, HAS_CHUNKS] = [2, 4];
const NO_BLOCK = 0xffff_ffff;

/** How the content of an inode is stored: EROFS_INODE_FLAT_PLAIN and the others. */
export const layouts = { plain: 0, inline: 2, chunks: 4 } as const;

/** An inode as it is written. */
export interface InodeFields {
  /** With the type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly time: FileTime;
  readonly links: number;
  readonly size: number;
  readonly layout: keyof typeof layouts;
  /** The first block, the device number, or the format of chunks. */
  readonly where: number;
  readonly xattrs: Xattrs | undefined;
}

/** The number of an inode at an address. */
export function numberAt(address: number): number {
  return address / SLOT;
}

/** Writes an inode with its attributes into zeroed bytes. Returns the length: more may follow there. */
export function writeInode(fields: InodeFields, address: number, into: Buffer): number {
  const { mode, uid, gid, time, links, size, layout, where, xattrs } = fields;
  const xattrBytes = sizeOfXattrs(xattrs);
  into.writeUInt16LE(1 | (layouts[layout] << 1), 0);
  into.writeUInt16LE(xattrBytes === 0 ? 0 : 1 + (xattrBytes - 12) / 4, 2);
  into.writeUInt16LE(mode, 4);
  write64(into, size, 8);
  into.writeUInt32LE(where, 16);
  into.writeUInt32LE(numberAt(address) % 2 ** 32, 20);
  into.writeUInt32LE(uid, 24);
  into.writeUInt32LE(gid, 28);
  write64(into, time.seconds, 32);
  into.writeUInt32LE(time.nanoseconds, 40);
  into.writeUInt32LE(links, LINKS);
  if (xattrs !== undefined && xattrBytes > 0) {
    writeXattrs(xattrs, into.subarray(INODE, INODE + xattrBytes));
  }
  return INODE + xattrBytes;
}

/** Fields of an inode that can change after it was written. */
export type ChangedFields = Pick<InodeFields, "mode" | "uid" | "gid"> & {
  readonly time: FileTime | undefined;
};

/** Writes other fields into an inode of an image. */
export function changeInode(
  image: Pick<ImageFile, "writeAt">,
  number: number,
  { mode, uid, gid, time }: ChangedFields,
): void {
  const address = number * SLOT;
  const [type, owner] = [Buffer.alloc(2), Buffer.alloc(time === undefined ? 8 : 20)];
  type.writeUInt16LE(mode, 0);
  owner.writeUInt32LE(uid, 0);
  owner.writeUInt32LE(gid, 4);
  if (time !== undefined) {
    write64(owner, time.seconds, 8);
    owner.writeUInt32LE(time.nanoseconds, 16);
  }
  image.writeAt(address + 4, type);
  image.writeAt(address + 24, owner);
}

/** A device number as in an inode (new_encode_dev() in linux/kdev_t.h). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** The facts about a whole image. */
export interface ImageFacts {
  readonly blocks: number;
  readonly inodes: number;
  readonly hasChunks: boolean;
  readonly uuid: Buffer;
}

/** Block 0 of an image: the superblock, and the inode of the root directory with its inline content. */
export function firstBlock(facts: ImageFacts, root: InodeFields, inline: Buffer): Buffer {
  const block = Buffer.alloc(BLOCK);
  const at = block.subarray(SUPERBLOCK);
  at.writeUInt32LE(MAGIC, 0);
  at.writeUInt32LE(HAS_MTIME, 8);
  at[12] = Math.log2(BLOCK);
  at.writeUInt16LE(numberAt(ROOT), 14);
  write64(at, facts.inodes, 16);
  at.writeUInt32LE(facts.blocks, 36);
  facts.uuid.copy(at, 48, 0, 16);
  at.writeUInt32LE(facts.hasChunks ? HAS_CHUNKS : 0, 80);
  const length = writeInode(root, ROOT, block.subarray(ROOT));
  inline.copy(block, ROOT + length);
  return block;
}

/** The number of the root directory's inode. */
export const rootNumber = numberAt(ROOT);

/** How a file with holes is stored. */
export interface Chunks {
  /** The bytes of the map, which follow the inode and its attributes. */
  readonly map: Buffer;
  /** For the inode: the size of a chunk, as a power of two of blocks. */
  readonly format: number;
}

/** A map has at most this many chunks; a larger file has larger chunks, and fewer holes. */
const MAX_CHUNKS = 65_536;

/**
 * The map of a file whose blocks are one after another from block `first` on. A chunk without data is a hole.
 * `holes` are pairs of a block of the file and a number of blocks, in order.
 */
export function mapChunks(size: number, first: number, holes: readonly number[]): Chunks {
  const blocks = Math.ceil(size / BLOCK);
  let format = 0;
  while (Math.ceil(blocks / 2 ** format) > MAX_CHUNKS) format++;
  const count = Math.ceil(blocks / 2 ** format);
  const map = Buffer.alloc(4 * count);
  let at = 0;
  for (let chunk = 0; chunk < count; chunk++) {
    const begin = chunk * 2 ** format;
    const end = Math.min(blocks, begin + 2 ** format);
    while (at < holes.length && (holes[at] ?? 0) + (holes[at + 1] ?? 0) < end) at += 2;
    const isHole = at < holes.length && (holes[at] ?? 0) <= begin;
    map.writeUInt32LE(isHole ? NO_BLOCK : first + begin, 4 * chunk);
  }
  return { map, format };
}

/** Two's complement; a double has all the bits of a safe integer. */
function write64(into: Buffer, value: number, at: number): void {
  const high = Math.floor(value / 2 ** 32);
  into.writeUInt32LE(value - high * 2 ** 32, at);
  into.writeInt32LE(high, at + 4);
}
