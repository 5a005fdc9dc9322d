// The frames of SPDY/3.1 (drafts 3 and 3.1 of the SPDY protocol), without compression and
// without the state of streams, which are in session.ts.
import { RuntimeError } from "../../base/errors.ts";

/** Types of control frames. */
export const frameType = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

/** Why a stream is reset. */
export const resetStatus = {
  protocolError: 1,
  invalidStream: 2,
  refusedStream: 3,
  cancel: 5,
  internalError: 6,
  flowControlError: 7,
  streamInUse: 8,
} as const;

/** Why a session ends. */
export const goAwayStatus = { ok: 0, protocolError: 1, internalError: 2 } as const;

/** The setting for the number of bytes that may be sent on a stream before the first window update. */
export const initialWindowSetting = 7;

/** Flag of data, SYN_STREAM, SYN_REPLY and HEADERS: the end of this direction. */
export const flagFin = 1;

/** The largest payload of a control frame that is read. Data frames may have 16 MiB, because they are not buffered. */
export const maxControlBytes = 32 * 1024;

const version = 3;
const headBytes = 8;

/** A received control frame; `payload` follows the header of 8 bytes. */
export interface ControlFrame {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

/** Receives frames in order. An error that it throws ends the parsing. */
export interface FrameSink {
  control(frame: ControlFrame): void;
  /** A piece of a data frame; `fin` with the last piece of the last frame. May be empty. */
  data(streamId: number, piece: Buffer, fin: boolean): void;
}

/** Splits the bytes of a connection into frames. Buffers at most one control frame; data is passed on as it arrives. */
export class FrameParser {
  readonly #sink: FrameSink;
  #buffered: Buffer = Buffer.alloc(0);
  #data: { readonly streamId: number; readonly fin: boolean; left: number } | undefined;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Throws at the first byte that is not SPDY/3.1, and for frames that are too large. */
  push(chunk: Buffer): void {
    let rest = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    for (;;) {
      const used = this.#data === undefined ? this.#frame(rest) : this.#piece(rest);
      if (used === 0) break;
      rest = rest.subarray(used);
    }
    // A copy, because the chunk of these bytes is much larger.
    this.#buffered = Buffer.from(rest);
  }

  #piece(bytes: Buffer): number {
    const data = this.#data;
    if (data === undefined || bytes.length === 0) return 0;
    const piece = bytes.subarray(0, data.left);
    data.left -= piece.length;
    if (data.left === 0) this.#data = undefined;
    this.#sink.data(data.streamId, piece, data.fin && data.left === 0);
    return piece.length;
  }

  #frame(bytes: Buffer): number {
    if (bytes.length < headBytes) return 0;
    const length = bytes.readUIntBE(5, 3);
    const flags = bytes.readUInt8(4);
    if ((bytes.readUInt8(0) & 0x80) === 0) {
      const streamId = bytes.readUInt32BE(0);
      if (streamId === 0) throw protocolError("data on stream 0");
      const fin = (flags & flagFin) !== 0;
      if (length === 0) this.#sink.data(streamId, bytes.subarray(0, 0), fin);
      else this.#data = { streamId, fin, left: length };
      return headBytes;
    }
    if ((bytes.readUInt16BE(0) & 0x7fff) !== version) throw protocolError("another version");
    if (length > maxControlBytes) throw protocolError(`a frame of ${length} bytes`);
    if (bytes.length < headBytes + length) return 0;
    const payload = bytes.subarray(headBytes, headBytes + length);
    this.#sink.control({ type: bytes.readUInt16BE(2), flags, payload });
    return headBytes + length;
  }
}

/** The error for a peer that violates SPDY/3.1. */
export function protocolError(what: string): RuntimeError {
  return new RuntimeError(
    "invalid-argument",
    `read SPDY frame: ${what}; the peer speaks another protocol`,
  );
}

/** A 32-bit number in the payload of a control frame; throws when the frame is too short. */
export function numberAt(payload: Buffer, offset: number): number {
  if (offset + 4 > payload.length) throw protocolError("a truncated frame");
  return payload.readUInt32BE(offset);
}

/** The stream id of a control frame. */
export function streamIdOf(payload: Buffer): number {
  return numberAt(payload, 0) & 0x7fffffff;
}

/** The header of a data frame; the payload is sent after it. */
export function dataHead(streamId: number, length: number, fin: boolean): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt32BE(length, 4);
  if (fin) head.writeUInt8(flagFin, 4);
  return head;
}

/** A control frame of 32-bit numbers, followed by other bytes. */
function controlFrame(
  type: number,
  flags: number,
  numbers: readonly number[],
  rest: Buffer = Buffer.alloc(0),
): Buffer {
  const frame = Buffer.alloc(headBytes + 4 * numbers.length + rest.length);
  frame.writeUInt16BE(0x8000 | version, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt32BE(frame.length - headBytes, 4);
  frame.writeUInt8(flags, 4);
  for (const [index, value] of numbers.entries()) frame.writeUInt32BE(value, headBytes + 4 * index);
  rest.copy(frame, headBytes + 4 * numbers.length);
  return frame;
}

/** SYN_STREAM; priority 0, as everywhere in Kubernetes. */
export function synStreamFrame(streamId: number, block: Buffer): Buffer {
  return controlFrame(
    frameType.synStream,
    0,
    [streamId, 0],
    Buffer.concat([Buffer.alloc(2), block]),
  );
}

export function synReplyFrame(streamId: number, block: Buffer): Buffer {
  return controlFrame(frameType.synReply, 0, [streamId], block);
}

export function resetFrame(streamId: number, status: number): Buffer {
  return controlFrame(frameType.rstStream, 0, [streamId, status]);
}

export function settingsFrame(initialWindow: number): Buffer {
  return controlFrame(frameType.settings, 0, [1, initialWindowSetting, initialWindow]);
}

export function pingFrame(id: number): Buffer {
  return controlFrame(frameType.ping, 0, [id]);
}

export function goAwayFrame(lastStreamId: number, status: number): Buffer {
  return controlFrame(frameType.goAway, 0, [lastStreamId, status]);
}

export function windowUpdateFrame(streamId: number, bytes: number): Buffer {
  return controlFrame(frameType.windowUpdate, 0, [streamId, bytes]);
}
