import { read } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

import { openSha256, type Sha256 } from "../linux/blob/index.ts";
import { preparePipe } from "../linux/file/index.ts";
import { MAGIC_BYTES } from "./decompress.ts";

/** The largest read. With 256 KiB, a pull needs a tenth more processor time: threads wake each other more often. */
const PIECE = 1024 * 1024;
/**
 * After a smaller read, more bytes are waited for: with TLS, they come in pieces of 16 KiB, and each read costs the same
 * four threads their wake-ups.
 */
const SMALL = 256 * 1024;
const GATHER_MS = 2;
/** The capacity of the pipe: large enough that the two sides do not wait for each other at each chunk. */
const PIPE = 1024 * 1024;

const readInto = promisify(read);

/** What the daemon sends: a line of text, then the blob that belongs to it, then the next line. */
export class JobInput {
  readonly #fd: number;
  /** What was read and not taken yet is at its beginning. */
  current: Buffer = Buffer.allocUnsafeSlow(PIECE);
  other: Buffer = Buffer.allocUnsafeSlow(PIECE);
  filled = 0;

  constructor(fd: number) {
    this.#fd = fd;
    preparePipe(fd, PIPE);
  }

  /** The next line without its end; `undefined` at the end of the input, and for a line that is too long. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.current.subarray(0, this.filled).indexOf("\n");
      if (end >= 0) {
        const text = this.current.toString("utf8", 0, end);
        this.current.copyWithin(0, end + 1, this.filled);
        this.filled -= end + 1;
        return text;
      }
      if (this.filled === PIECE) return undefined;
      const count = await this.read(this.current, this.filled);
      if (count === 0) return undefined;
      this.filled += count;
    }
  }

  /** Resolves with the number of bytes, 0 at the end of the input. */
  async read(into: Buffer, at: number): Promise<number> {
    const { bytesRead } = await readInto(this.#fd, into, at, PIECE - at, null);
    return bytesRead;
  }
}

/**
 * Reads one compressed blob to its end. A chunk is decompressed and hashed while the next one is read, with two
 * buffers in total. The daemon sends nothing after the blob before it has the report.
 */
export class BlobInput {
  /** The hash of what was read; that of the whole blob when `ended`. Another one may take its place before forEach(). */
  hash: Sha256;
  readonly #input: JobInput;
  /** Bytes of the blob that were not read yet. */
  #left: number;
  #isCut = false;
  #isPassedOn = false;

  constructor(input: JobInput, size: number, hash = openSha256()) {
    this.#input = input;
    this.hash = hash;
    this.#left = size - input.filled;
  }

  /** The blob was read to its end, and all of it is in the hash. */
  get ended(): boolean {
    return this.#left === 0 && this.#isPassedOn;
  }

  /** The first bytes, which show the compression; fewer if the blob is shorter. Call it once, first. */
  async head(): Promise<Buffer> {
    const input = this.#input;
    while (input.filled < MAGIC_BYTES && this.#hasMore) {
      input.filled += await this.#read(input.current, input.filled);
    }
    return input.current.subarray(0, input.filled);
  }

  /** Passes the blob in chunks to `take`, including the head, each after the previous one was consumed. */
  async forEach(take: (bytes: Buffer) => Promise<void>): Promise<void> {
    const input = this.#input;
    let count = input.filled;
    input.filled = 0;
    while (count > 0 || this.#hasMore) {
      const piece = input.current.subarray(0, count);
      const taken = take(piece);
      const next = this.#hasMore ? this.#readNext(input.other, count) : undefined;
      // Its failure is handled below, after that of `taken`.
      next?.catch(() => undefined);
      const hashed = this.hash.update(piece);
      try {
        await taken;
      } finally {
        this.hash.hurry();
        await hashed;
      }
      [input.current, input.other] = [input.other, input.current];
      count = (await next) ?? 0;
    }
    this.#isPassedOn = true;
  }

  /** Reads while the `last` bytes are decompressed. */
  async #readNext(into: Buffer, last: number): Promise<number> {
    if (last < SMALL) await sleep(GATHER_MS);
    return await this.#read(into, 0);
  }

  get #hasMore(): boolean {
    return this.#left > 0 && !this.#isCut;
  }

  async #read(into: Buffer, at: number): Promise<number> {
    const count = await this.#input.read(into, at);
    if (count === 0) this.#isCut = true;
    this.#left -= count;
    return count;
  }
}
