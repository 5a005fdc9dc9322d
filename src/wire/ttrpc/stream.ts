import { RuntimeError } from "../../base/errors.ts";

/** What one side of a stream may leave unread; ttrpc has no flow control (PROTOCOL.md). */
const maxUnreadBytes = 8 * 1024 * 1024;
/** What a message takes beside its bytes: an empty one is not free. */
const messageOverheadBytes = 256;

/** A stream of messages in both directions, as either side of it sees it. */
export interface TtrpcStream extends AsyncIterable<Uint8Array> {
  /** Sends a message. `unavailable` when the connection is gone, `failed-precondition` after closeSend(). */
  send(message: Uint8Array): void;
  /** Says that nothing more is sent. Idempotent. */
  closeSend(): void;
}

/** Messages that came and were not read yet. A peer that sends more than is read fails its stream. */
export class Inbox implements AsyncIterable<Uint8Array> {
  #messages: Uint8Array[] = [];
  #unread = 0;
  #end: { readonly error: RuntimeError | undefined } | undefined;
  #wake: (() => void) | undefined;

  /** False when it is full: then it has failed. */
  push(message: Uint8Array): boolean {
    if (this.#end !== undefined) return true;
    this.#unread += message.length + messageOverheadBytes;
    if (this.#unread > maxUnreadBytes) {
      const text = `read ttrpc stream: more than ${maxUnreadBytes} bytes wait to be read`;
      this.end(new RuntimeError("resource-exhausted", text));
      return false;
    }
    this.#messages.push(message);
    this.#wake?.();
    return true;
  }

  /** No more messages come; the first call counts. */
  end(error?: RuntimeError): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (this.#messages.length > 0) {
        // All that are here: to take them off the list one by one would take too long.
        const messages = this.#messages;
        this.#messages = [];
        for (const message of messages) {
          this.#unread -= message.length + messageOverheadBytes;
          yield message;
        }
      } else if (this.#end === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      } else {
        if (this.#end.error !== undefined) throw this.#end.error;
        return;
      }
    }
  }
}
