import { Gatherer } from "../gatherer.ts";
import { ConnectionError, defaultFrameBytes, errorCode, flag, frameType } from "./protocol.ts";

/** Bytes before the payload of a frame: RFC 9113, section 4.1. */
export const frameHeadBytes = 9;

/** Receives the frames of a connection. A ConnectionError that it throws leaves `push()`. */
export interface FrameSink {
  /** A frame of any type but DATA. The payload shares memory with the chunk that was read. */
  onFrame(type: number, flags: number, streamId: number, payload: Buffer): void;
  /** A DATA frame begins. The length is that of its payload with padding, which flow control counts. */
  onData(streamId: number, flags: number, length: number): void;
  /** A part of its data, as it arrived, without padding. */
  onDataPart(part: Buffer): void;
  /** It has ended. */
  onDataEnd(): void;
}

/**
 * Splits what a peer sends into frames, independent of the boundaries of the chunks. The data of DATA frames is passed on
 * as it arrives; other frames are collected, each of at most 16 KiB.
 */
export class FrameParser {
  readonly #sink: FrameSink;
  /** The start of a frame whose rest has not arrived. */
  readonly #unfinished = new Gatherer();
  #isStopped = false;
  /** Of the DATA frame that has begun. */
  #isInData = false;
  #isPadLengthNext = false;
  #dataBytes = 0;
  #padBytes = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Drops what follows, also of the chunk that is being read. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Passes the frames of a chunk to the sink. @throws ConnectionError for a malformed frame. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#isStopped) {
      if (this.#isInData) at = this.#readData(chunk, at);
      else if (this.#unfinished.length > 0) at = this.#gather(chunk, at);
      else at = this.#readFrame(chunk, at);
    }
  }

  /** Reads a frame that begins at `at`, or collects its start. Returns where the next one begins. */
  #readFrame(chunk: Buffer, at: number): number {
    const left = chunk.length - at;
    if (left < frameHeadBytes) return this.#gather(chunk, at);
    const word = chunk.readUInt32BE(at);
    const end = frameHeadBytes + checkedLength(word >>> 8);
    const type = word & 0xff;
    if (type !== frameType.data && left < end) return this.#gather(chunk, at);
    const flags = chunk.readUInt8(at + 4);
    const streamId = chunk.readUInt32BE(at + 5) & 0x7f_ff_ff_ff;
    if (type === frameType.data) {
      this.#beginData(streamId, flags, word >>> 8);
      return at + frameHeadBytes;
    }
    this.#sink.onFrame(type, flags, streamId, chunk.subarray(at + frameHeadBytes, at + end));
    return at + end;
  }

  #gather(chunk: Buffer, at: number): number {
    const held = this.#unfinished;
    let taken = 0;
    if (held.length < frameHeadBytes) taken += held.fill(chunk.subarray(at), frameHeadBytes);
    if (held.length < frameHeadBytes) return at + taken;
    const word = held.uint32At(0);
    // The data of a DATA frame is not collected.
    if ((word & 0xff) !== frameType.data) {
      const end = frameHeadBytes + checkedLength(word >>> 8);
      taken += held.fill(chunk.subarray(at + taken), end);
      if (held.length < end) return at + taken;
    }
    this.#readFrame(held.take(), 0);
    return at + taken;
  }

  #beginData(streamId: number, flags: number, length: number): void {
    this.#isPadLengthNext = (flags & flag.padded) !== 0;
    if (this.#isPadLengthNext && length === 0) {
      throw new ConnectionError(errorCode.frameSizeError, "a padded frame without its pad length");
    }
    this.#dataBytes = length;
    this.#padBytes = 0;
    this.#isInData = length > 0;
    this.#sink.onData(streamId, flags, length);
    if (length === 0) this.#sink.onDataEnd();
  }

  #readData(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#isPadLengthNext) {
      this.#isPadLengthNext = false;
      this.#padBytes = checkedPadding(chunk.readUInt8(at), this.#dataBytes);
      this.#dataBytes -= 1 + this.#padBytes;
      at += 1;
    }
    const bytes = Math.min(this.#dataBytes, chunk.length - at);
    if (bytes > 0) {
      this.#dataBytes -= bytes;
      this.#sink.onDataPart(chunk.subarray(at, at + bytes));
      at += bytes;
    }
    const padding = Math.min(this.#padBytes, chunk.length - at);
    this.#padBytes -= padding;
    if (this.#dataBytes === 0 && this.#padBytes === 0) {
      this.#isInData = false;
      this.#sink.onDataEnd();
    }
    return at + padding;
  }
}

/**
 * The header block of a HEADERS frame or its first part, without padding and priority (RFC 9113, section 6.2).
 *
 * @throws ConnectionError when the frame is too short.
 */
export function headerBlockOf(flags: number, payload: Buffer): Buffer {
  const isPadded = (flags & flag.padded) !== 0;
  const start = (isPadded ? 1 : 0) + ((flags & flag.priority) !== 0 ? 5 : 0);
  if (payload.length < start) {
    throw new ConnectionError(errorCode.frameSizeError, `HEADERS of ${payload.length} bytes`);
  }
  if (!isPadded) return payload.subarray(start);
  const end = payload.length - payload.readUInt8(0);
  if (end < start) throw paddingError();
  return payload.subarray(start, end);
}

function checkedLength(length: number): number {
  if (length <= defaultFrameBytes) return length;
  throw new ConnectionError(
    errorCode.frameSizeError,
    `a frame of ${length} bytes, the limit is ${defaultFrameBytes}`,
  );
}

/** @param length of the payload, with the byte that has the length of the padding */
function checkedPadding(padding: number, length: number): number {
  if (padding >= length) throw paddingError();
  return padding;
}

function paddingError(): ConnectionError {
  return new ConnectionError(errorCode.protocolError, "padding that is longer than its frame");
}
