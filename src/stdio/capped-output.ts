import type { Readable } from "node:stream";

/** The most that ExecSync returns of each stream; api.proto: "16 MB ... the rest is discarded". */
const maxOutputBytes = 16 * 1024 * 1024;

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
export class CappedOutput {
  /** Settles at the end of the stream; never rejects. */
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #bytesLeft: number;

  constructor(stream: Readable | undefined, maxBytes = maxOutputBytes) {
    this.#bytesLeft = maxBytes;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.ended = promise;
    if (stream === undefined) resolve(undefined);
    stream?.on("close", () => {
      resolve(undefined);
    });
    stream?.on("data", (chunk: Buffer) => {
      this.#append(chunk);
    });
  }

  #append(chunk: Buffer): void {
    if (this.#bytesLeft <= 0) return;
    const part = chunk.length > this.#bytesLeft ? chunk.subarray(0, this.#bytesLeft) : chunk;
    this.#bytesLeft -= part.length;
    this.#chunks.push(part);
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}
