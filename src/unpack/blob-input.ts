import { createHash } from "node:crypto";
import { read } from "node:fs";
import { promisify } from "node:util";

import { preparePipe } from "../linux/file/index.ts";
import { MAGIC_BYTES } from "./decompress.ts";

/** A read takes what is there, at most so much. */
const PIECE = 256 * 1024;
/** What may wait in the pipe: enough that neither side has to wait for the other at each piece. */
const PIPE = 1024 * 1024;

const readInto = promisify(read);

/**
 * The compressed blob, read from a descriptor to its end. Three things go on at once: a piece is
 * decompressed and hashed while the next one is read. Two buffers do for all of it.
 */
export class BlobInput {
  /** Of all that was read; of the whole blob once `ended`. */
  readonly hash = createHash("sha256");
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

  /** The first bytes, by which its kind is known; fewer where the blob has no more. Once, at first. */
  async head(): Promise<Buffer> {
    preparePipe(this.#fd, PIPE);
    while (this.#head < MAGIC_BYTES && !this.#ended) {
      this.#head += (await this.#read(this.#current, this.#head)).length;
    }
    return this.#current.subarray(0, this.#head);
  }

  /** Gives `take` the blob in pieces, the head too, each when the one before is done with. */
  async forEach(take: (bytes: Buffer) => Promise<void>): Promise<void> {
    let piece = this.#current.subarray(0, this.#head);
    while (piece.length > 0 || !this.#ended) {
      const taken = take(piece);
      const next = this.#ended ? undefined : this.#read(this.#other, 0);
      // Its failure is met below, after that of `taken`.
      next?.catch(() => undefined);
      this.hash.update(piece);
      await taken;
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
