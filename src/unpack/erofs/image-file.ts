import { fstatSync, ftruncateSync, writeSync } from "node:fs";

import { RuntimeError } from "../../base/errors.ts";

/** The block of an image. The kernel accepts any power of two up to its page; every page has 4096. */
export const BLOCK = 4096;
/** Inodes are at multiples of this; their number is the multiple. */
export const SLOT = 32;

const DATA_BUFFER = 1024 * 1024;
/** The area for metadata grows with the image, so that a small layer has a small image. */
const FIRST_AREA = BLOCK;
const LAST_AREA = 32 * BLOCK;
/** Addresses of blocks have 32 bits, and the last one means "hole". */
const MAX_BLOCKS = 2 ** 32 - 2;

/** A part of the file that is written in order. */
interface Area {
  readonly start: number;
  readonly bytes: Buffer;
  used: number;
}

/**
 * The file of an image while it is written: blocks of data in order, and between them areas of metadata, which
 * are written when they are full. Nothing is read back. Block 0 is for the superblock and the root directory.
 */
export class ImageFile {
  readonly #file: number;
  readonly #buffer = Buffer.allocUnsafeSlow(DATA_BUFFER);
  /** Where the buffer begins in the file, a multiple of BLOCK. */
  #start = BLOCK;
  #filled = 0;
  #area: Area | undefined;
  #nextArea = FIRST_AREA;

  /** A new file that is open for writing. */
  constructor(file: number) {
    this.#file = file;
  }

  /** Where the next byte of data goes. */
  get position(): number {
    return this.#start + this.#filled;
  }

  /** How many bytes of metadata fit into the current block of metadata. */
  get roomInBlock(): number {
    const area = this.#area;
    return area === undefined ? 0 : (BLOCK - (area.used % BLOCK)) % BLOCK;
  }

  append(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const count = bytes.copy(this.#buffer, this.#filled, at);
      this.#filled += count;
      at += count;
      if (this.#filled === DATA_BUFFER) this.#flush();
    }
  }

  /** Appends zeros. */
  zeros(count: number): void {
    for (let left = count; left > 0; ) {
      const part = Math.min(left, DATA_BUFFER - this.#filled);
      this.#buffer.fill(0, this.#filled, this.#filled + part);
      this.#filled += part;
      left -= part;
      if (this.#filled === DATA_BUFFER) this.#flush();
    }
  }

  /** Appends zeros up to the next block. */
  pad(): void {
    this.zeros((BLOCK - (this.#filled % BLOCK)) % BLOCK);
  }

  /** Leaves out whole blocks: they are zeros, and a hole of the file. The position is that of a block. */
  skip(blocks: number): void {
    this.#flush();
    this.#start += blocks * BLOCK;
    this.#checkSize();
  }

  /** Takes back the data since the last block began. */
  takeTail(): Buffer {
    const length = this.#filled % BLOCK;
    this.#filled -= length;
    return Buffer.from(this.#buffer.subarray(this.#filled, this.#filled + length));
  }

  /**
   * Reserves zeroed metadata at a multiple of SLOT: its address, and the bytes, which may be written until the
   * next call. Up to BLOCK bytes are in one block. Only between files: the position is that of a block.
   */
  metadata(length: number): { readonly address: number; readonly bytes: Buffer } {
    const size = Math.ceil(length / SLOT) * SLOT;
    const room = this.roomInBlock;
    if (this.#area !== undefined && size > room && (size <= BLOCK || room < 64)) {
      this.#area.used += room;
    }
    if (this.#area === undefined || this.#area.used + size > this.#area.bytes.length) {
      this.#beginArea(size);
    }
    const area = this.#area;
    if (area === undefined) throw new RuntimeError("internal", "write image: no metadata");
    const bytes = area.bytes.subarray(area.used, area.used + length);
    const address = area.start + area.used;
    area.used += size;
    return { address, bytes };
  }

  /** Writes the rest of the file and its first block. Returns its length in blocks. */
  finish(first: (blocks: number) => Buffer): number {
    this.#endArea();
    this.pad();
    this.#flush();
    const blocks = this.#start / BLOCK;
    this.writeAt(0, first(blocks));
    // Only a skip at the end makes it longer.
    if (fstatSync(this.#file).size < this.#start) ftruncateSync(this.#file, this.#start);
    return blocks;
  }

  /** Writes bytes that are not in a buffer any more; see endMetadata(). */
  writeAt(address: number, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(this.#file, bytes, at, bytes.length - at, address + at);
    }
  }

  /** Writes all metadata so far. */
  endMetadata(): void {
    this.#endArea();
  }

  #beginArea(size: number): void {
    this.#endArea();
    const length = Math.max(this.#nextArea, Math.ceil(size / BLOCK) * BLOCK);
    this.#nextArea = Math.min(2 * this.#nextArea, LAST_AREA);
    this.#flush();
    this.#area = { start: this.#start, bytes: Buffer.alloc(length), used: 0 };
    this.#start += length;
    this.#checkSize();
  }

  #endArea(): void {
    const area = this.#area;
    if (area === undefined) return;
    this.#area = undefined;
    // The last area of an image is not longer than its content.
    if (area.start + area.bytes.length === this.position) {
      const length = Math.ceil(area.used / BLOCK) * BLOCK;
      this.writeAt(area.start, area.bytes.subarray(0, length));
      this.#start = area.start + length;
      return;
    }
    this.writeAt(area.start, area.bytes);
  }

  /** Writes the buffer up to its last whole block. */
  #flush(): void {
    const whole = this.#filled - (this.#filled % BLOCK);
    if (whole === 0) return;
    this.writeAt(this.#start, this.#buffer.subarray(0, whole));
    this.#buffer.copyWithin(0, whole, this.#filled);
    this.#filled -= whole;
    this.#start += whole;
    this.#checkSize();
  }

  #checkSize(): void {
    if (this.#start / BLOCK <= MAX_BLOCKS) return;
    throw new RuntimeError("resource-exhausted", "unpack layer: an image has at most 16 TiB");
  }
}
