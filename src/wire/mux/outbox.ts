import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { releaseTransferred } from "../../base/given-memory.ts";

/** Told whether bytes were handed to the connection. */
export type Sent = (error?: Error) => void;

/** Answers that may wait for a peer that does not read, before it is taken for an attack. */
const maxBacklogBytes = 1024 * 1024;

interface Waiting {
  readonly parts: readonly Uint8Array[];
  readonly sent: Sent;
}

/**
 * What goes out on one connection that many streams share. Data waits while the connection holds
 * its high-water mark of unsent bytes, so that memory stays flat under a slow reader; the streams
 * take turns in the order in which they asked. Frames that must not wait (answers, resets) do not.
 */
export class Outbox {
  readonly #transport: Duplex;
  readonly #waiting: Waiting[] = [];
  /** A socket itself, whose callbacks mean "written"; those of what goes on top of one do not. */
  readonly #mayFree: boolean;
  #lost: Error | undefined;

  constructor(transport: Duplex) {
    this.#transport = transport;
    this.#mayFree = transport.constructor === Socket;
    transport.on("drain", () => this.#drain());
  }

  /** Sends one frame in its parts; `sent` is called when the connection has taken it, or has not. */
  send(parts: readonly Uint8Array[], sent: Sent): void {
    if (this.#lost !== undefined) {
      sent(this.#lost);
      return;
    }
    if (this.#waiting.length > 0 || this.#transport.writableNeedDrain) {
      this.#waiting.push({ parts, sent });
      return;
    }
    this.#write(parts);
    sent();
  }

  /** Sends a frame at once. False when the peer has left too many of them unread. */
  sendNow(frame: Uint8Array): boolean {
    if (this.#lost !== undefined) return true;
    if (this.#transport.writableLength > maxBacklogBytes) return false;
    this.#transport.write(frame);
    return true;
  }

  /** The connection is gone: nothing more is sent, and who waits is told. */
  lose(error: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    for (const { sent } of this.#waiting.splice(0)) sent(error);
  }

  #drain(): void {
    for (;;) {
      if (this.#lost !== undefined || this.#transport.writableNeedDrain) return;
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#write(next.parts);
      next.sent();
    }
  }

  #write(parts: readonly Uint8Array[]): void {
    // One system call, and no copy: the socket writes what is corked as a vector.
    this.#transport.cork();
    for (const part of parts) {
      if (this.#mayFree) this.#transport.write(part, (error) => freeWritten(part, error));
      else this.#transport.write(part);
    }
    this.#transport.uncork();
  }
}

function freeWritten(part: Uint8Array, error: Error | null | undefined): void {
  if (error === null || error === undefined) releaseTransferred(part);
}
