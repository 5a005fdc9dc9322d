import { wrap } from "../../base/errors.ts";

/** Bytes, as they come or all at once. */
export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** The chunks of an archive, and the error that ended them early. */
export class Packing implements AsyncIterable<Uint8Array> {
  readonly #chunks: Chunks;
  #failure: { readonly cause: unknown } | undefined;

  constructor(chunks: Chunks) {
    this.#chunks = chunks;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#chunks;
    } catch (cause) {
      this.#failure = { cause };
      throw cause;
    }
  }

  /** Throws the error that ended the archive, if any. */
  check(what: string): void {
    if (this.#failure !== undefined) throw wrap(what, this.#failure.cause);
  }
}
