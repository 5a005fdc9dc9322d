import { wrap } from "../../base/errors.ts";

/** An archive on its way, and whether it could be made. */
export class Packing implements AsyncIterable<Buffer> {
  readonly #pieces: AsyncIterable<Buffer>;
  #failure: { readonly cause: unknown } | undefined;

  constructor(pieces: AsyncIterable<Buffer>) {
    this.#pieces = pieces;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    try {
      yield* this.#pieces;
    } catch (cause) {
      this.#failure = { cause };
      throw cause;
    }
  }

  /** Throws what the making failed with. */
  check(what: string): void {
    if (this.#failure !== undefined) throw wrap(what, this.#failure.cause);
  }
}
