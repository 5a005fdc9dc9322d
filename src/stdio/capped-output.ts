import type { Readable } from "node:stream";

/** What ExecSync answers of each stream at most; api.proto: "16 MB ... the rest is discarded". */
export const maxOutputBytes = 16 * 1024 * 1024;

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
export class Output {
  /** Settles at the end of the stream; never rejects. */
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #room: number;

  constructor(stream: Readable | undefined, limit: number) {
    this.#room = limit;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.ended = promise;
    if (stream === undefined) resolve(undefined);
    stream?.on("close", () => {
      resolve(undefined);
    });
    stream?.on("data", (chunk: Buffer) => {
      this.#keep(chunk);
    });
  }

  #keep(chunk: Buffer): void {
    if (this.#room <= 0) return;
    const kept = chunk.length > this.#room ? chunk.subarray(0, this.#room) : chunk;
    this.#room -= kept.length;
    this.#chunks.push(kept);
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}
