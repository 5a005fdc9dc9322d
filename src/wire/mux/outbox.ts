import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { releaseTransferred } from "../../base/transferable.ts";

/** Called when bytes were passed to the connection, or with an error. */
export type Sent = (error?: Error) => void;

/** Unsent responses to a peer that does not read; with more, the connection is closed. */
const maxBacklogBytes = 1024 * 1024;

interface Waiting {
  readonly parts: readonly Uint8Array[];
  readonly sent: Sent;
}

/**
 * The sending side of a connection that several streams share. Data waits while the connection has more
 * unsent bytes than its high-water mark, so that a slow reader does not increase memory use; the streams
 * send in the order of their requests. Frames that must not wait (responses, resets) are sent at once.
 */
export class Outbox {
  readonly #transport: Duplex;
  readonly #waiting: Waiting[] = [];
  /** The transport is a socket, whose callbacks mean "written". Those of a stream on top of a socket do not. */
  readonly #mayFree: boolean;
  #lost: Error | undefined;

  constructor(transport: Duplex) {
    this.#transport = transport;
    this.#mayFree = transport.constructor === Socket;
    transport.on("drain", () => this.#drain());
  }

  /** Sends the parts of one frame; `sent` is called when they were passed to the connection, or with an error. */
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

  /** Sends a frame at once. False when the peer does not read such frames. */
  sendNow(frame: Uint8Array): boolean {
    if (this.#lost !== undefined) return true;
    if (this.#transport.writableLength > maxBacklogBytes) return false;
    this.#transport.write(frame);
    return true;
  }

  /** The connection is lost: nothing more is sent, and waiting writers get the error. */
  connectionLost(error: Error): void {
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
    // One system call and no copy: the socket writes corked chunks as a vector.
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
