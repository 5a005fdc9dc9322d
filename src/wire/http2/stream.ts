import { ChunkQueue } from "../mux/chunk-queue.ts";
import { type ClientBudget, earned, limits } from "./limits.ts";
import { errorCode } from "./protocol.ts";
import type { RequestHead } from "./request-head.ts";
import { Outgoing, type Sender, type SendQueue } from "./send-queue.ts";

/** Receives the events of a stream. Its functions must not throw. */
export interface StreamHandler {
  /**
   * A part of the body of the request. It may share memory with what other streams receive.
   *
   * @param endsSoon its frame is the last of the request
   */
  onData(part: Buffer, endsSoon: boolean): void;
  /** The request is complete. */
  onEnd(): void;
  /** `write()` returned false, and the stream can now take more. */
  onDrain(): void;
  /** The stream is over: both sides have ended, it was reset, or its connection is lost. Called once, after the others. */
  onClose(): void;
}

/** The connection of a stream. */
export interface StreamOwner {
  readonly sending: SendQueue;
  readonly budget: ClientBudget;
  /** Something can be sent. */
  schedule(): void;
  /** The client may send so much more on the stream. */
  sendWindowUpdate(stream: ServerStream, bytes: number): void;
  /** Data of the stream waits for its handler; negative when it was read. False when all streams have too much. */
  hold(bytes: number): boolean;
  /** Sends RST_STREAM. */
  sendReset(stream: ServerStream, code: number): void;
  /** The stream is over. */
  forget(stream: ServerStream): void;
}

/** One request and its response. */
export class ServerStream implements Sender {
  readonly id: number;
  readonly head: RequestHead;
  readonly #owner: StreamOwner;
  readonly #out: Outgoing;
  #handler: StreamHandler | undefined;
  /** Bytes that the client may still send. */
  #window: number = limits.streamWindowBytes;
  /** Bytes that were read since the last WINDOW_UPDATE. */
  #readBytes = 0;
  #receivedBytes = 0;
  #waiting: ChunkQueue | undefined;
  #waitingBytes = 0;
  #isPaused = false;
  #hasReceivedEnd = false;
  #hasDeliveredEnd = false;
  #hasEnded = false;
  #headersSent = false;
  #isClosed = false;

  constructor(id: number, head: RequestHead, owner: StreamOwner) {
    this.id = id;
    this.head = head;
    this.#owner = owner;
    this.#out = new Outgoing(id, this, owner.sending.initialWindow);
  }

  /** Data without a handler is dropped. Set once, when the stream begins. */
  set handler(handler: StreamHandler) {
    this.#handler = handler;
  }

  /** The stream is over. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The client has sent its whole request. */
  get hasReceivedEnd(): boolean {
    return this.#hasReceivedEnd;
  }

  /** `respond()` was called. */
  get headersSent(): boolean {
    return this.#headersSent;
  }

  /** Bytes of data that the client has not accepted. */
  get unsentBytes(): number {
    return this.#out.unsentBytes;
  }

  /** Bytes of the messages that are kept: a message is kept whole until all of it is sent. */
  get keptBytes(): number {
    return this.#out.keptBytes;
  }

  /** The sending side, for the connection. */
  get outgoing(): Outgoing {
    return this.#out;
  }

  /** Sends an encoded header block. With `isEnd` it is the whole response. Once. */
  respond(block: Uint8Array, isEnd = false): void {
    if (this.#isClosed) return;
    this.#headersSent = true;
    this.#out.headers = block;
    this.#out.endsWithHeaders = isEnd;
    if (isEnd) this.#hasEnded = true;
    this.#send();
  }

  /** Sends data, after `respond()`. The bytes must not change until they are sent. False: wait for `onDrain()`. */
  write(part: Uint8Array): boolean {
    if (this.#isClosed || this.#hasEnded) return true;
    this.#owner.sending.add(this.#out, part);
    this.#owner.budget.earn(earned.message);
    this.#send();
    return !this.#out.isFull;
  }

  /** Ends the response with an encoded block of trailers, after the data. */
  end(trailers: Uint8Array): void {
    if (this.#isClosed || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#out.trailers = trailers;
    this.#send();
  }

  /** No more of the request is needed: the stream closes without error, after the response (RFC 9113, section 8.1). */
  rejectRest(): void {
    if (this.#hasReceivedEnd || this.#isClosed) return;
    if (this.#out.isClosed) {
      this.reset(errorCode.noError);
    } else {
      this.#out.rejectsRest = true;
      this.resume();
    }
  }

  /** Ends the stream now, with an error code. */
  reset(code: number): void {
    if (this.#isClosed) return;
    this.#owner.sendReset(this, code);
    this.close();
  }

  /** Until `resume()` the client may send what its window allows, which waits here. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    while (!this.#mustWait()) {
      const part = this.#waiting?.shift();
      if (part === undefined) break;
      this.#waitingBytes -= part.length;
      this.#owner.hold(-part.length);
      this.#deliver(part, false);
    }
    if (this.#hasReceivedEnd && this.#waitingBytes === 0 && !this.#mustWait()) this.#deliverEnd();
  }

  /** DATA begins. False when the stream was reset for it. */
  receiveLength(length: number): boolean {
    this.#window -= length;
    if (this.#hasReceivedEnd) return this.violate(errorCode.streamClosed);
    return this.#window >= 0 || this.violate(errorCode.flowControlError);
  }

  /** The client sent bytes that are not data: padding. */
  receivePadding(length: number): void {
    this.#credit(length);
  }

  receive(part: Buffer, endsSoon: boolean): void {
    if (this.#isClosed) return;
    this.#receivedBytes += part.length;
    const { contentLength } = this.head;
    if (contentLength !== undefined && this.#receivedBytes > contentLength) {
      this.violate(errorCode.protocolError);
    } else if (this.#isPaused) {
      this.#keep(part);
    } else {
      this.#deliver(part, endsSoon);
    }
  }

  /** The client has ended its side. */
  receiveEnd(): void {
    if (this.#isClosed) return;
    const { contentLength } = this.head;
    if (contentLength !== undefined && this.#receivedBytes !== contentLength) {
      this.violate(errorCode.protocolError);
      return;
    }
    this.#hasReceivedEnd = true;
    // A request that was answered by its headers alone has no rest that could be rejected.
    this.#out.rejectsRest = false;
    // The response was sent before.
    if (this.#out.isClosed) this.close();
    else if (!this.#isPaused) this.#deliverEnd();
  }

  /** The stream is over; also when its connection is lost. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#owner.sending.discard(this.#out);
    if (this.#waitingBytes > 0) {
      this.#owner.hold(-this.#waitingBytes);
      this.#waiting = undefined;
      this.#waitingBytes = 0;
    }
    this.#owner.forget(this);
    this.#handler?.onClose();
    this.#handler = undefined;
  }

  /** Resets the stream for what the client does on it. Returns false, for callers that return it. */
  violate(code: number): false {
    if (this.#isClosed) return false;
    this.reset(code);
    this.#owner.budget.violation();
    return false;
  }

  onDrain(): void {
    this.#handler?.onDrain();
  }

  onSent(): void {
    if (this.#hasReceivedEnd || this.#out.rejectsRest) this.close();
    // Until the client has read the status, it sends the rest of its request.
    else this.resume();
  }

  #send(): void {
    this.#owner.sending.enqueue(this.#out);
    this.#owner.schedule();
  }

  #mustWait(): boolean {
    return this.#isPaused || this.#isClosed;
  }

  #deliver(part: Buffer, endsSoon: boolean): void {
    this.#handler?.onData(part, endsSoon);
    this.#credit(part.length);
  }

  #deliverEnd(): void {
    if (this.#hasDeliveredEnd) return;
    this.#hasDeliveredEnd = true;
    this.#handler?.onEnd();
  }

  /** Stores data of a paused stream. A small part does not keep the memory of the whole chunk that was read. */
  #keep(part: Buffer): void {
    const isSmall = 2 * part.length < part.buffer.byteLength;
    this.#waiting ??= new ChunkQueue();
    this.#waiting.push(isSmall ? Buffer.from(part) : part);
    this.#waitingBytes += part.length;
    if (this.#owner.hold(part.length)) return;
    this.reset(errorCode.enhanceYourCalm);
    this.#owner.budget.reset();
  }

  #credit(bytes: number): void {
    this.#readBytes += bytes;
    if (this.#readBytes < limits.streamWindowBytes / 2) return;
    if (this.#hasReceivedEnd || this.#isClosed) return;
    this.#owner.sendWindowUpdate(this, this.#readBytes);
    this.#window += this.#readBytes;
    this.#readBytes = 0;
  }
}
