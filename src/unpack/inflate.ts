import { messageOf } from "../base/errors.ts";
import type { GzipInflater } from "../linux/blob/index.ts";
import type { Decompressor } from "./decompressor.ts";
import { brokenArchive } from "./tar-header.ts";

/**
 * The size of a piece of output, and the number of them: one is read while the others are filled. Memory that a small
 * layer does not fill is never there.
 */
const PIECE = 1024 * 1024;
const PIECES = 3;

/** A {@link Decompressor} of gzip by ISA-L, on a thread of the pool and with a fixed number of buffers. */
export class InflateStream implements Decompressor {
  readonly output: AsyncIterable<Buffer>;
  readonly #inflater: GzipInflater;
  readonly #free: Buffer[] = [];
  #made = 0;
  /** Filled pieces; each is at the beginning of a buffer. */
  readonly #filled: Buffer[] = [];
  /** The input so far could be all: nothing, or whole members. */
  #isComplete = false;
  #isEnded = false;
  /** Nothing more is decompressed: padding was reached, or the reader left. */
  #isOver = false;
  #failure: Error | undefined;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  constructor(inflater: GzipInflater) {
    this.#inflater = inflater;
    this.output = this.#read();
  }

  async write(bytes: Buffer): Promise<void> {
    let rest: Uint8Array = bytes;
    let isFull = false;
    while ((rest.length > 0 || isFull) && !this.#isOver) {
      const buffer = await this.#room();
      if (buffer === undefined) break;
      const { consumed, produced } = await this.#inflate(rest, buffer);
      rest = rest.subarray(consumed);
      isFull = produced === buffer.length;
      this.#wakeReader?.();
    }
    if (rest.length > 0) await this.#inflater.skip(rest);
  }

  /** After a failure, all input counts as consumed. */
  async #inflate(
    input: Uint8Array,
    buffer: Buffer,
  ): Promise<{ readonly consumed: number; readonly produced: number }> {
    try {
      const { state, consumed, produced } = await this.#inflater.inflate(input, buffer);
      this.#isComplete = state !== "more";
      if (state === "padding") this.#isOver = true;
      if (produced === 0) this.#free.push(buffer);
      else this.#filled.push(buffer.subarray(0, produced));
      if (consumed + produced === 0 && state === "more" && input.length > 0) {
        this.#fail("decompress: the decompressor makes no progress");
      }
      return { consumed, produced };
    } catch (cause) {
      this.#fail(`decompress: ${messageOf(cause)}`);
      return { consumed: input.length, produced: 0 };
    }
  }

  end(): void {
    this.#isEnded = true;
    if (!this.#isComplete && !this.#isOver) this.#fail("decompress: unexpected end of file");
    this.#wakeReader?.();
  }

  #fail(text: string): void {
    this.#failure ??= brokenArchive(text);
    this.#isOver = true;
  }

  /** `undefined` when nothing more is decompressed. */
  async #room(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.#isOver) return undefined;
      const buffer = this.#free.pop();
      if (buffer !== undefined) return buffer;
      // Most layers are small, and need one.
      if (this.#made++ < PIECES) return Buffer.allocUnsafeSlow(PIECE);
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wakeWriter = () => resolve(undefined);
      await promise;
    }
  }

  async *#read(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        const piece = this.#filled.shift();
        if (piece !== undefined) {
          yield piece;
          this.#free.push(Buffer.from(piece.buffer));
          this.#wakeWriter?.();
          continue;
        }
        if (this.#failure !== undefined) throw this.#failure;
        if (this.#isEnded) return;
        const { promise, resolve } = Promise.withResolvers<undefined>();
        this.#wakeReader = () => resolve(undefined);
        await promise;
      }
    } finally {
      this.#isOver = true;
      this.#wakeWriter?.();
    }
  }
}
