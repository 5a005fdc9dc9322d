import { read } from "node:fs";
import { promisify } from "node:util";

import { openSha256 } from "../linux/blob/index.ts";
import { preparePipe } from "../linux/file/index.ts";
import { MAGIC_BYTES } from "./decompress.ts";

/** The largest read. */
const PIECE = 256 * 1024;
/** The capacity of the pipe: large enough that the two sides do not wait for each other at each chunk. */
const PIPE = 1024 * 1024;

const readInto = promisify(read);

/**
 * Reads the compressed blob from a descriptor to its end. A chunk is
 * decompressed and hashed while the next one is read, with two buffers in total.
 */
export class BlobInput {
  /** The hash of what was read; that of the whole blob when `ended`. */
  readonly hash = openSha256();
  readonly #fd: number;
  #current: Buffer = Buffer.allocUnsafeSlow(PIECE);
  #other: Buffer = Buffer.allocUnsafeSlow(PIECE);
  #head = 0;
  #ended = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The blob was read to its end. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The first bytes, which show the compression; fewer if the blob is shorter. Call it once, first. */
  async head(): Promise<Buffer> {
    preparePipe(this.#fd, PIPE);
    while (this.#head < MAGIC_BYTES && !this.#ended) {
      this.#head += (await this.#read(this.#current, this.#head)).length;
    }
    return this.#current.subarray(0, this.#head);
  }

  /** Passes the blob in chunks to `take`, including the head, each after the previous one was consumed. */
  async forEach(take: (bytes: Buffer) => Promise<void>): Promise<void> {
    let piece = this.#current.subarray(0, this.#head);
    while (piece.length > 0 || !this.#ended) {
      const taken = take(piece);
      const next = this.#ended ? undefined : this.#read(this.#other, 0);
      // Its failure is handled below, after that of `taken`.
      next?.catch(() => undefined);
      const hashed = this.hash.update(piece);
      try {
        await taken;
      } finally {
        await hashed;
      }
      [this.#current, this.#other] = [this.#other, this.#current];
      piece = (await next) ?? Buffer.alloc(0);
    }
  }

  async #read(into: Buffer, at: number): Promise<Buffer> {
    const { bytesRead } = await readInto(this.#fd, into, at, PIECE - at, null);
    if (bytesRead === 0) this.#ended = true;
    return into.subarray(at, at + bytesRead);
  }
}
