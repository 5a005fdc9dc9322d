import { RuntimeError } from "../../base/errors.ts";
import type { ServerStream } from "../http2/stream.ts";

/**
 * The requests of a call with a stream of them, for one reader. While a request waits for the reader, the
 * stream is paused: its client can then send what the flow-control window allows, and no more.
 */
export class RequestQueue implements AsyncIterable<Uint8Array> {
  readonly #stream: ServerStream;
  readonly #waiting: Uint8Array[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  constructor(stream: ServerStream) {
    this.#stream = stream;
  }

  push(message: Uint8Array): void {
    if (this.#end !== undefined) return;
    this.#waiting.push(message);
    this.#stream.pause();
    this.#wake?.();
  }

  /** Ends the requests, after those that wait; with an error, at once. The first call counts. */
  end(error?: Error): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    if (error !== undefined) this.#waiting.length = 0;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) {
        yield message;
        continue;
      }
      if (this.#end?.error !== undefined) throw this.#end.error;
      if (this.#end !== undefined) return;
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => resolve(undefined);
      this.#stream.resume();
      await promise;
    }
  }
}

/** For a handler that reads requests although it has answered. */
export function callIsOver(method: string): RuntimeError {
  return new RuntimeError("canceled", `read requests of "${method}": the call has ended`);
}
