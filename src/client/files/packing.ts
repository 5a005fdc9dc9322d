import { wrap } from "../../base/errors.ts";

/** The chunks of an archive, and the error that ended them early. */
export class Packing implements AsyncIterable<Buffer> {
  readonly #chunks: AsyncIterable<Buffer>;
  #failure: { readonly cause: unknown } | undefined;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
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
