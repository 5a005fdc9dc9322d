import { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";

import { RuntimeError } from "../base/errors.ts";
import { GzipInflater } from "../linux/blob/index.ts";
import type { Decompressor } from "./decompressor.ts";
import { InflateStream } from "./inflate.ts";
import { brokenArchive } from "./tar-header.ts";
import { ZstdFrames } from "./zstd-frames.ts";

/** The compression of a blob. */
export type Compression = "gzip" | "zstd" | "none";

/** The number of bytes that {@link detectCompression} needs. */
export const MAGIC_BYTES = 4;
/** The size of chunks of output; up to four wait while another thread makes the next one. */
const PIECE = 256 * 1024;

/** Detects the compression by the first bytes, because media types are often wrong. */
export function detectCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip";
  if (head.length < MAGIC_BYTES) return "none";
  const magic = head.readUInt32LE(0);
  // A stream may begin with a skippable frame (RFC 8878, 3.1.2).
  if (magic === 0xfd2fb528 || (magic & 0xffff_fff0) >>> 0 === 0x184d2a50) return "zstd";
  return "none";
}

/** ISA-L for gzip where it is installed, else what Node.js has. */
export function decompressorFor(compression: Compression): Decompressor {
  const inflater = compression === "gzip" ? GzipInflater.open() : undefined;
  return inflater === undefined ? new ZlibStream(compression) : new InflateStream(inflater);
}

/** The {@link Decompressor} of node:zlib. */
export class ZlibStream implements Decompressor {
  readonly output: AsyncIterable<Buffer>;
  readonly #stream: Transform;
  readonly #frames: ZstdFrames | undefined;
  #settleWrite: (() => void) | undefined;
  #isEnded = false;

  constructor(compression: Compression) {
    this.#frames = compression === "zstd" ? new ZstdFrames() : undefined;
    this.#stream = transformFor(compression);
    // The reader of `output` gets failures.
    this.#stream.on("error", () => undefined);
    this.#stream.on("close", () => this.#settleWrite?.());
    this.output = readAll(this.#stream, () => compression !== "zstd" || this.#isEnded);
  }

  async write(bytes: Buffer): Promise<void> {
    if (this.#frames === undefined) {
      await this.#push(bytes);
      return;
    }
    try {
      for (const part of this.#frames.split(bytes)) await this.#push(part);
    } catch (error) {
      this.#fail(error);
    }
  }

  end(): void {
    try {
      this.#frames?.end();
      this.#isEnded = true;
      this.#stream.end();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#stream.destroy(error instanceof Error ? error : new Error(String(error)));
  }

  async #push(bytes: Buffer): Promise<void> {
    if (this.#stream.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#settleWrite = () => resolve(undefined);
    this.#stream.write(bytes, this.#settleWrite);
    await promise;
  }
}

function transformFor(compression: Compression): Transform {
  const options = { chunkSize: PIECE, highWaterMark: 4 * PIECE };
  switch (compression) {
    case "gzip":
      return createGunzip(options);
    case "zstd":
      return createZstdDecompress(options);
    case "none":
      return new Transform({
        highWaterMark: 4 * PIECE,
        transform: (bytes: Buffer, _encoding, done) => done(null, Buffer.from(bytes)),
      });
  }
}

/** Node.js ends the output when the decoder leaves input: padding after gzip, but never between frames of zstd. */
async function* readAll(stream: Transform, mayEnd: () => boolean): AsyncGenerator<Buffer> {
  try {
    for await (const piece of stream) yield piece as Buffer;
    if (!mayEnd()) throw new Error("its zstd data ends before the blob does");
  } catch (cause) {
    if (cause instanceof RuntimeError) throw cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    throw brokenArchive(`decompress: ${text}`);
  }
}
