import type { Duplex } from "node:stream";
import { linger } from "../mux/linger.ts";
import { FrameWriter } from "./frame-writer.ts";
import { limits } from "./limits.ts";
import type { SendQueue } from "./send-queue.ts";

/** Bytes that are written at once; the socket takes about as many. */
const burstBytes = 128 * 1024;

/** The writer of all connections: each write is built without a turn of the event loop in between. */
const writer = new FrameWriter();

/**
 * Writes the frames of a connection: replies first, then what the streams have. What a turn of the event loop has produced
 * is one write. While the socket is full nothing is built, so a client that does not read costs no more than the
 * messages that wait.
 */
export class Output {
  readonly #socket: Duplex;
  readonly #sending: SendQueue;
  #replies: Buffer[] = [];
  #replyBytes = 0;
  #isScheduled = false;
  #isEnding = false;

  constructor(socket: Duplex, sending: SendQueue) {
    this.#socket = socket;
    this.#sending = sending;
    socket.on("drain", this.#continue);
  }

  /** Sends a frame before all data. False when the client does not read, and too many wait. */
  reply(frame: Buffer): boolean {
    this.#replies.push(frame);
    this.#replyBytes += frame.length;
    this.schedule();
    return this.#replyBytes <= limits.maxReplyBytes || !this.#socket.writableNeedDrain;
  }

  /** Something can be sent, at the end of this turn of the event loop. */
  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(this.#flush);
  }

  /** Closes the socket when everything has been written. A client that does not read is disconnected after 5 s. */
  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    linger(this.#socket);
    this.schedule();
  }

  /** Large answers leave the event loop to others after each burst: a client may read as fast as they are written. */
  readonly #continue = (): void => {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#flush);
  };

  readonly #flush = (): void => {
    this.#isScheduled = false;
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    if (this.#socket.writableNeedDrain) return;
    for (const frame of this.#replies) writer.append(frame);
    this.#replies = [];
    this.#replyBytes = 0;
    this.#sending.pump(writer, burstBytes);
    this.#write(writer.take());
    if (this.#sending.isReady || this.#replies.length > 0) this.#continue();
    else if (this.#isEnding) this.#socket.end(() => this.#socket.destroy());
  };

  #write(parts: readonly Uint8Array[]): void {
    const [first] = parts;
    if (first === undefined) return;
    if (parts.length === 1) {
      this.#socket.write(first);
      return;
    }
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }
}
