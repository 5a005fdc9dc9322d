import { Duplex } from "node:stream";
import type { Sent } from "./outbox.ts";
import { Pieces } from "./pieces.ts";

/** What a stream needs of the connection that carries it. */
export interface MuxPort {
  /** Sends data; `sent` is called when more may come. */
  send(chunk: Buffer, sent: Sent): void;
  /** Says that no more data follows. */
  sendEnd(sent: Sent): void;
  /** Bytes were read that the connection had counted as held. */
  taken(bytes: number): void;
  /** The stream is no more. `whole` when both sides ended it: there is nothing to cancel. */
  gone(whole: boolean): void;
}

/** Bytes that a reader or a writer may be behind inside of the stream, beside its queue. */
const highWaterMarkBytes = 64 * 1024;

/**
 * One stream of a connection that carries many. Each direction ends by itself. An error of one
 * stream is this stream's only; nobody needs to listen for it.
 */
export class MuxStream extends Duplex {
  readonly #port: MuxPort;
  readonly #received = new Pieces();
  #wanted = false;
  #peerEnded = false;
  #ended = false;
  #lost: Error | undefined;

  constructor(port: MuxPort) {
    super({
      allowHalfOpen: true,
      readableHighWaterMark: highWaterMarkBytes,
      writableHighWaterMark: highWaterMarkBytes,
    });
    this.#port = port;
    // NOTE(node): an "error" without a listener ends the process, and peers cause these errors.
    this.on("error", () => undefined);
    this.on("end", () => {
      if (this.#lost !== undefined) this.destroy();
    });
  }

  /** The peer has said that it sends no more. */
  get peerEnded(): boolean {
    return this.#peerEnded;
  }

  /** Takes data of the peer; the caller has counted it. False when it comes after the peer's end. */
  receive(chunk: Buffer): boolean {
    if (this.#peerEnded || this.destroyed) {
      this.#port.taken(chunk.length);
      return this.destroyed;
    }
    // Nothing to read, and nothing that the caller could have counted.
    if (chunk.length === 0) return true;
    this.#received.push(chunk);
    if (this.#wanted) this.#pass();
    return true;
  }

  /** The peer sends no more. */
  receiveEnd(): void {
    if (this.#peerEnded) return;
    this.#peerEnded = true;
    if (this.#wanted) this.#pass();
  }

  /** The connection is gone. What came in whole can still be read to its end. */
  lose(error: Error): void {
    this.#lost = error;
    if (this.#received.count > 0 || (this.#peerEnded && !this.readableEnded)) {
      if (this.#wanted) this.#pass();
      return;
    }
    this.destroy(this.#peerEnded && this.writableFinished ? undefined : error);
  }

  override _read(): void {
    this.#wanted = true;
    this.#pass();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: Sent): void {
    this.#port.send(chunk, callback);
  }

  override _writev(chunks: { chunk: Buffer }[], callback: Sent): void {
    this.#port.send(Buffer.concat(chunks.map(({ chunk }) => chunk)), callback);
  }

  override _final(callback: Sent): void {
    this.#ended = true;
    this.#port.sendEnd(callback);
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    let unread = 0;
    for (let chunk = this.#received.shift(); chunk !== undefined; chunk = this.#received.shift()) {
      unread += chunk.length;
    }
    if (unread > 0) this.#port.taken(unread);
    this.#port.gone(this.#ended && this.#peerEnded && unread === 0);
    callback(error);
  }

  #pass(): void {
    while (this.#wanted) {
      const chunk = this.#received.shift();
      if (chunk === undefined) break;
      this.#wanted = this.push(chunk);
      this.#port.taken(chunk.length);
    }
    if (this.#received.count > 0 || !this.#wanted) return;
    if (this.#peerEnded) {
      this.#wanted = false;
      this.push(null);
    } else if (this.#lost !== undefined) {
      this.destroy(this.#lost);
    }
  }
}
