import { Duplex } from "node:stream";
import type { Sent } from "./outbox.ts";
import { ChunkQueue } from "./chunk-queue.ts";

/** The functions of a connection that its streams use. */
export interface MuxPort {
  /** Sends data; `sent` is called when more can be sent. */
  send(chunk: Buffer, sent: Sent): void;
  /** Sends the end of the data. */
  sendEnd(sent: Sent): void;
  /** Bytes were read that the connection had counted as unread. */
  consumed(bytes: number): void;
  /** The stream is closed. `isComplete` when both sides ended it, so that there is nothing to cancel. */
  closed(isComplete: boolean): void;
}

/** The buffers of the stream itself, in addition to its queue. */
const highWaterMarkBytes = 64 * 1024;

/**
 * One stream of a connection that carries several. Each direction ends separately. An error of a
 * stream does not affect other streams, and needs no listener.
 */
export class MuxStream extends Duplex {
  readonly #port: MuxPort;
  readonly #received = new ChunkQueue();
  #isReading = false;
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
    // NOTE(node): an "error" event without a listener ends the process, and peers can cause these errors.
    this.on("error", () => undefined);
    this.on("end", () => {
      if (this.#lost !== undefined) this.destroy();
    });
  }

  /** The peer has ended its direction. */
  get peerEnded(): boolean {
    return this.#peerEnded;
  }

  /** Adds data of the peer, which the caller has counted as unread. False for data after the peer's end. */
  receive(chunk: Buffer): boolean {
    if (this.#peerEnded || this.destroyed) {
      this.#port.consumed(chunk.length);
      return this.destroyed;
    }
    // There is nothing to read.
    if (chunk.length === 0) return true;
    this.#received.push(chunk);
    if (this.#isReading) this.#deliver();
    return true;
  }

  /** The peer ends its direction. */
  receiveEnd(): void {
    if (this.#peerEnded) return;
    this.#peerEnded = true;
    if (this.#isReading) this.#deliver();
  }

  /** The connection is lost. Data that was received can still be read. */
  connectionLost(error: Error): void {
    this.#lost = error;
    if (this.#received.count > 0 || (this.#peerEnded && !this.readableEnded)) {
      if (this.#isReading) this.#deliver();
      return;
    }
    this.destroy(this.#peerEnded && this.writableFinished ? undefined : error);
  }

  override _read(): void {
    this.#isReading = true;
    this.#deliver();
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
    if (unread > 0) this.#port.consumed(unread);
    this.#port.closed(this.#ended && this.#peerEnded && unread === 0);
    callback(error);
  }

  #deliver(): void {
    while (this.#isReading) {
      const chunk = this.#received.shift();
      if (chunk === undefined) break;
      this.#isReading = this.push(chunk);
      this.#port.consumed(chunk.length);
    }
    if (this.#received.count > 0 || !this.#isReading) return;
    if (this.#peerEnded) {
      this.#isReading = false;
      this.push(null);
    } else if (this.#lost !== undefined) {
      this.destroy(this.#lost);
    }
  }
}
