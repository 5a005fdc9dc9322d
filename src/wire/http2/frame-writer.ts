import { frameHeadBytes } from "./frame-parser.ts";
import { flag, frameType } from "./protocol.ts";

/** Frames are written one after another into memory of this size, which is cut into pieces and never used again. */
const slabBytes = 64 * 1024;

/** Larger data is not copied next to its frame. */
const copyBelowBytes = 8 * 1024;

/**
 * Builds the bytes of frames for one write to a socket. Small parts are copied next to each other, so that the answers to
 * several calls are one buffer. One writer serves all connections of a thread: between the first frame and `take()` there
 * must be no other turn of the event loop.
 */
export class FrameWriter {
  #slab = Buffer.allocUnsafeSlow(slabBytes);
  #start = 0;
  #end = 0;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** The bytes that `take()` would return. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The head of a frame. Its payload follows by `append()`. */
  head(length: number, type: number, flags: number, streamId: number): void {
    this.#reserve(frameHeadBytes);
    const slab = this.#slab;
    const at = this.#end;
    slab.writeUInt32BE(length * 256 + type, at);
    slab[at + 4] = flags;
    slab.writeUInt32BE(streamId, at + 5);
    this.#end = at + frameHeadBytes;
    this.#bytes += frameHeadBytes;
  }

  /** Bytes of a payload. They must not change until they are sent. */
  append(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (bytes.length >= copyBelowBytes) {
      this.#cut();
      this.#parts.push(bytes);
      return;
    }
    this.#reserve(bytes.length);
    this.#slab.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** A header block: HEADERS, and CONTINUATION for what does not fit into a frame of the peer. */
  headers(streamId: number, block: Uint8Array, isEnd: boolean, maxFrameBytes: number): void {
    const endStream = isEnd ? flag.endStream : 0;
    if (block.length <= maxFrameBytes) {
      this.head(block.length, frameType.headers, flag.endHeaders | endStream, streamId);
      this.append(block);
      return;
    }
    this.head(maxFrameBytes, frameType.headers, endStream, streamId);
    this.append(block.subarray(0, maxFrameBytes));
    for (let at = maxFrameBytes; at < block.length; at += maxFrameBytes) {
      const part = block.subarray(at, at + maxFrameBytes);
      const isLast = at + part.length === block.length;
      this.head(part.length, frameType.continuation, isLast ? flag.endHeaders : 0, streamId);
      this.append(part);
    }
  }

  /** Everything since the last call, in order. */
  take(): readonly Uint8Array[] {
    this.#cut();
    const parts = this.#parts;
    this.#parts = [];
    this.#bytes = 0;
    return parts;
  }

  #reserve(bytes: number): void {
    if (this.#slab.length - this.#end >= bytes) return;
    this.#cut();
    this.#slab = Buffer.allocUnsafeSlow(slabBytes);
    this.#start = 0;
    this.#end = 0;
  }

  #cut(): void {
    if (this.#end > this.#start) this.#parts.push(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }
}

/** A frame whose payload is one number of four bytes: RST_STREAM and WINDOW_UPDATE. */
export function numberFrame(type: number, streamId: number, value: number): Buffer {
  const frame = emptyFrame(4, type, 0, streamId);
  frame.writeUInt32BE(value, frameHeadBytes);
  return frame;
}

/** GOAWAY: streams above the last one were not processed. */
export function goAwayFrame(lastStreamId: number, code: number): Buffer {
  const frame = emptyFrame(8, frameType.goAway, 0, 0);
  frame.writeUInt32BE(lastStreamId, frameHeadBytes);
  frame.writeUInt32BE(code, frameHeadBytes + 4);
  return frame;
}

/** The response to a PING. */
export function pingAckFrame(payload: Buffer): Buffer {
  const frame = emptyFrame(payload.length, frameType.ping, flag.ack, 0);
  frame.set(payload, frameHeadBytes);
  return frame;
}

/** SETTINGS with pairs of identifier and value. */
export function settingsFrame(settings: readonly (readonly [number, number])[]): Buffer {
  const frame = emptyFrame(6 * settings.length, frameType.settings, 0, 0);
  let at = frameHeadBytes;
  for (const [id, value] of settings) {
    at = frame.writeUInt16BE(id, at);
    at = frame.writeUInt32BE(value, at);
  }
  return frame;
}

/** The acknowledgment of SETTINGS. */
export const settingsAckFrame: Buffer = emptyFrame(0, frameType.settings, flag.ack, 0);

function emptyFrame(length: number, type: number, flags: number, streamId: number): Buffer {
  const frame = Buffer.allocUnsafe(frameHeadBytes + length);
  frame.writeUInt32BE(length * 256 + type, 0);
  frame[4] = flags;
  frame.writeUInt32BE(streamId, 5);
  return frame;
}
