import { RuntimeError } from "../../base/errors.ts";

/** The unread bytes of one side of a stream; ttrpc has no flow control (PROTOCOL.md). */
const maxUnreadBytes = 8 * 1024 * 1024;
/** The memory of a message in addition to its bytes, so that empty messages count, too. */
const messageOverheadBytes = 256;

/** A stream of messages in both directions, on either side. */
export interface TtrpcStream extends AsyncIterable<Uint8Array> {
  /** Sends a message. `unavailable` when the connection is lost, `failed-precondition` after closeSend(). */
  send(message: Uint8Array): void;
  /** Ends the sending direction. Idempotent. */
  closeSend(): void;
}

/** Received messages that were not read yet. A stream fails when its peer sends too much that is not read. */
export class Inbox implements AsyncIterable<Uint8Array> {
  #messages: Uint8Array[] = [];
  #unread = 0;
  #end: { readonly error: RuntimeError | undefined } | undefined;
  #wake: (() => void) | undefined;

  /** False when there are too many unread bytes; then the stream has failed. */
  push(message: Uint8Array): boolean {
    if (this.#end !== undefined) return true;
    this.#unread += message.length + messageOverheadBytes;
    if (this.#unread > maxUnreadBytes) {
      const text = `read ttrpc stream: more than ${maxUnreadBytes} bytes were not read`;
      this.end(new RuntimeError("resource-exhausted", text));
      return false;
    }
    this.#messages.push(message);
    this.#wake?.();
    return true;
  }

  /** Ends the stream; only the first call has an effect. */
  end(error?: RuntimeError): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (this.#messages.length > 0) {
        // All messages at once: removing them from the list one by one would take too long.
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
