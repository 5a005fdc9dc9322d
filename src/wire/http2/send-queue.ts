// What the streams of a connection have to send, and the windows of its client: RFC 9113, section 5.2.
import type { FrameWriter } from "./frame-writer.ts";
import { type ClientBudget, earned, type SharedMemory } from "./limits.ts";
import {
  defaultFrameBytes,
  defaultWindowBytes,
  errorCode,
  frameType,
  maxWindowBytes,
} from "./protocol.ts";

/** Called when a stream has made progress. */
export interface Sender {
  /** Less than `lowBytes` wait, after there were more than `highBytes`. */
  onDrain(): void;
  /** Everything was sent, including the end of the stream. */
  onSent(): void;
}

/** A stream takes data until this much waits. */
const highBytes = 64 * 1024;
/** Then it takes more when less than this waits. */
const lowBytes = 16 * 1024;

/** A reference to the first table of an encoder whose size is 0: RFC 7541, sections 4.2 and 6.3. */
const emptyTableUpdate = Buffer.from([0x20]);

/** What one stream has to send: a header block, data, and a block of trailers that ends it. */
export class Outgoing {
  readonly id: number;
  readonly sender: Sender;
  /** Bytes that its client accepts. Negative after a smaller initial window. */
  window: number;
  unsentBytes = 0;
  /** Bytes of the parts that are kept: a part stays whole until all of it was sent. */
  keptBytes = 0;
  headers: Uint8Array | undefined;
  trailers: Uint8Array | undefined;
  /** The header block is also the end. */
  endsWithHeaders = false;
  /** RST_STREAM with NO_ERROR follows the end: the rest of the request is not needed (RFC 9113, section 8.1). */
  rejectsRest = false;
  isClosed = false;
  isQueued = false;
  isFull = false;
  readonly #parts: Uint8Array[] = [];
  /** Bytes of the first part that were sent. */
  #offset = 0;

  constructor(id: number, sender: Sender, window: number) {
    this.id = id;
    this.sender = sender;
    this.window = window;
  }

  push(part: Uint8Array): void {
    if (part.length > 0) this.#parts.push(part);
    this.unsentBytes += part.length;
    this.keptBytes += part.length;
  }

  /** Writes that many bytes of the data. */
  write(writer: FrameWriter, length: number): void {
    this.unsentBytes -= length;
    for (let left = length; left > 0; ) {
      const [part] = this.#parts;
      if (part === undefined) return;
      const end = Math.min(part.length, this.#offset + left);
      writer.append(end - this.#offset === part.length ? part : part.subarray(this.#offset, end));
      left -= end - this.#offset;
      this.#offset = end;
      if (end < part.length) return;
      this.#parts.shift();
      this.keptBytes -= part.length;
      this.#offset = 0;
    }
  }

  /** Forgets the data. */
  clear(): void {
    this.#parts.length = 0;
    this.unsentBytes = 0;
    this.keptBytes = 0;
  }
}

/** Sends what the streams of a connection have, a frame of each in turn. */
export class SendQueue {
  /** The settings of the client. */
  initialWindow = defaultWindowBytes;
  maxFrameBytes = defaultFrameBytes;
  readonly #memory: SharedMemory;
  readonly #budget: ClientBudget;
  #window = defaultWindowBytes;
  #unsentBytes = 0;
  /**
   * Streams that can send, in turn. A stream that is over leaves at once: a client that does not read, or gives the
   * connection no window, could otherwise have any number of them kept by resetting its calls.
   */
  readonly #ready = new Set<Outgoing>();
  /** Streams with data that wait for the window of the connection. */
  readonly #starved = new Set<Outgoing>();
  #mustEmptyTable = false;

  constructor(memory: SharedMemory, budget: ClientBudget) {
    this.#memory = memory;
    this.#budget = budget;
  }

  /** Bytes of data of all streams. Those of a message count until the whole message is sent, because it is kept whole. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** Whether a stream can send now. */
  get isReady(): boolean {
    return this.#ready.size > 0;
  }

  /** The next header block tells the client that no table is used, because its limit became smaller. */
  emptyTable(): void {
    this.#mustEmptyTable = true;
  }

  /** Adds data of a stream. */
  add(out: Outgoing, part: Uint8Array): void {
    out.push(part);
    this.#count(part.length);
    if (out.unsentBytes >= highBytes) out.isFull = true;
  }

  /** The stream has something to send. */
  enqueue(out: Outgoing): void {
    if (out.isQueued || out.isClosed) return;
    out.isQueued = true;
    this.#ready.add(out);
  }

  /** Drops what the stream has not sent. */
  discard(out: Outgoing): void {
    out.isClosed = true;
    this.#ready.delete(out);
    this.#starved.delete(out);
    this.#count(-out.keptBytes);
    out.clear();
  }

  /** The client accepts more on the connection. False beyond the largest window. */
  widen(bytes: number): boolean {
    this.#window += bytes;
    for (const out of this.#starved) this.#ready.add(out);
    this.#starved.clear();
    return this.#window <= maxWindowBytes;
  }

  /** The client accepts more on a stream, or less. False beyond the largest window. */
  widenStream(out: Outgoing, bytes: number): boolean {
    out.window += bytes;
    if (out.window > 0 && out.unsentBytes > 0) this.enqueue(out);
    return out.window <= maxWindowBytes;
  }

  /** Writes frames until there are about `maxBytes`, or nothing can be sent. */
  pump(writer: FrameWriter, maxBytes: number): void {
    // Those that are added meanwhile are at the end, and have their turn in this loop, too.
    for (const out of this.#ready) {
      if (writer.bytes >= maxBytes) return;
      this.#ready.delete(out);
      if (this.#write(writer, out)) this.#ready.add(out);
    }
  }

  /** Writes one frame of data at most, and headers and trailers. True if the stream can send more now. */
  #write(writer: FrameWriter, out: Outgoing): boolean {
    if (out.headers !== undefined) {
      this.#writeHeaders(writer, out, out.headers, out.endsWithHeaders);
      out.headers = undefined;
      if (out.endsWithHeaders) return this.#finish(writer, out);
    }
    if (out.unsentBytes > 0) {
      const most = Math.min(out.window, this.#window, this.maxFrameBytes, out.unsentBytes);
      if (most <= 0) {
        if (out.window > 0) this.#starved.add(out);
        else out.isQueued = false;
        return false;
      }
      this.#writeData(writer, out, most);
      // Its handler may have reset it, because it can take more.
      if (out.isClosed) return false;
      if (out.unsentBytes > 0) return true;
    }
    if (out.trailers === undefined) {
      out.isQueued = false;
      return false;
    }
    this.#writeHeaders(writer, out, out.trailers, true);
    return this.#finish(writer, out);
  }

  #writeData(writer: FrameWriter, out: Outgoing, length: number): void {
    writer.head(length, frameType.data, 0, out.id);
    const { keptBytes } = out;
    out.write(writer, length);
    out.window -= length;
    this.#window -= length;
    this.#count(out.keptBytes - keptBytes);
    this.#budget.earn(Math.floor(length / earned.bytesPerFrame));
    if (!out.isFull || out.unsentBytes >= lowBytes) return;
    out.isFull = false;
    out.sender.onDrain();
  }

  #writeHeaders(writer: FrameWriter, out: Outgoing, block: Uint8Array, isEnd: boolean): void {
    const whole = this.#mustEmptyTable ? Buffer.concat([emptyTableUpdate, block]) : block;
    this.#mustEmptyTable = false;
    writer.headers(out.id, whole, isEnd, this.maxFrameBytes);
  }

  #finish(writer: FrameWriter, out: Outgoing): false {
    if (out.rejectsRest) {
      writer.head(4, frameType.rstStream, 0, out.id);
      writer.append(noErrorPayload);
    }
    out.isQueued = false;
    out.isClosed = true;
    out.sender.onSent();
    return false;
  }

  #count(bytes: number): void {
    this.#unsentBytes += bytes;
    this.#memory.unsentBytes += bytes;
  }
}

const noErrorPayload = Buffer.from([0, 0, 0, errorCode.noError]);
