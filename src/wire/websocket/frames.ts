// The frames of WebSocket (RFC 6455). The parser never buffers a message: it passes its
// pieces on as they arrive, because a message may be too large for memory.
import { randomBytes } from "node:crypto";
import { RuntimeError } from "../../base/errors.ts";

/** Types of frames (RFC 6455, 5.2). */
export const opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** Why a connection is closed (RFC 6455, 7.4.1). */
export const closeCode = {
  normal: 1000,
  protocolError: 1002,
  invalidData: 1007,
  tooBig: 1009,
} as const;

/** A piece of a message. */
export interface MessagePiece {
  readonly text: boolean;
  readonly piece: Buffer;
  /** The first and the last piece of its message; a message has at least one piece. */
  readonly first: boolean;
  readonly last: boolean;
}

/** Receives messages and control frames in order. An error that it throws ends the parsing. */
export interface WebSocketSink {
  message(piece: MessagePiece): void;
  /** A close, ping or pong; 125 bytes at most. */
  control(code: number, payload: Buffer): void;
}

/** A violation of the protocol by the peer, with the close code. */
export class WebSocketError extends RuntimeError {
  readonly code: number;

  constructor(code: number, what: string) {
    super("invalid-argument", `read WebSocket frame: ${what}; the peer violates RFC 6455`);
    this.code = code;
  }
}

interface Current {
  readonly control: boolean;
  readonly code: number;
  readonly fin: boolean;
  readonly mask: Buffer | undefined;
  left: number;
  at: number;
}

/** The frames that are accepted. */
export interface WebSocketParserOptions {
  /** Clients mask what they send, servers do not (RFC 6455, 5.1). */
  readonly masked: boolean;
  readonly maxMessageBytes: number;
}

/** Splits the bytes of a connection into frames. Buffers at most 125 bytes and a header. */
export class WebSocketParser {
  readonly #options: WebSocketParserOptions;
  readonly #sink: WebSocketSink;
  #buffered: Buffer = Buffer.alloc(0);
  #frame: Current | undefined;
  /** The current message, with its number of bytes so far. */
  #message: { readonly text: boolean; bytes: number; begun: boolean } | undefined;

  constructor(options: WebSocketParserOptions, sink: WebSocketSink) {
    this.#options = options;
    this.#sink = sink;
  }

  /** Throws a WebSocketError at the first byte that violates the protocol or a limit. */
  push(chunk: Buffer): void {
    let rest = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    for (;;) {
      const used = this.#frame === undefined ? this.#head(rest) : this.#body(this.#frame, rest);
      if (used === undefined) break;
      rest = rest.subarray(used);
    }
    this.#buffered = Buffer.from(rest);
  }

  #head(bytes: Buffer): number | undefined {
    if (bytes.length < 2) return undefined;
    const [first, second] = [bytes.readUInt8(0), bytes.readUInt8(1)];
    const code = first & 0x0f;
    const fin = (first & 0x80) !== 0;
    const masked = (second & 0x80) !== 0;
    if ((first & 0x70) !== 0) throw new WebSocketError(closeCode.protocolError, "an extension");
    if (masked !== this.#options.masked)
      throw new WebSocketError(closeCode.protocolError, "the mask");
    const short = second & 0x7f;
    const control = code >= 8;
    if (control && (short > 125 || !fin)) {
      throw new WebSocketError(closeCode.protocolError, "a control frame too long or in pieces");
    }
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
    const headBytes = 2 + lengthBytes + (masked ? 4 : 0);
    if (bytes.length < headBytes) return undefined;
    const left = lengthBytes === 0 ? short : longLength(bytes, lengthBytes);
    if (control) checkControl(code);
    else this.#begin(code, left);
    const mask = masked ? Buffer.from(bytes.subarray(headBytes - 4, headBytes)) : undefined;
    this.#frame = { control, code, fin, mask, left, at: 0 };
    return headBytes;
  }

  #begin(code: number, length: number): void {
    if (code === opcode.continuation) {
      if (this.#message === undefined) {
        throw new WebSocketError(closeCode.protocolError, "a continuation without a message");
      }
    } else if (code === opcode.text || code === opcode.binary) {
      if (this.#message !== undefined) {
        throw new WebSocketError(closeCode.protocolError, "a message inside another one");
      }
      this.#message = { text: code === opcode.text, bytes: 0, begun: false };
    } else {
      throw new WebSocketError(closeCode.protocolError, `opcode ${code}`);
    }
    this.#message.bytes += length;
    if (this.#message.bytes > this.#options.maxMessageBytes) {
      throw new WebSocketError(closeCode.tooBig, `over ${this.#options.maxMessageBytes} bytes`);
    }
  }

  #body(frame: Current, bytes: Buffer): number | undefined {
    if (frame.control) {
      if (bytes.length < frame.left) return undefined;
      const payload = unmask(frame, bytes.subarray(0, frame.left));
      this.#frame = undefined;
      this.#sink.control(frame.code, payload);
      return payload.length;
    }
    if (bytes.length === 0 && frame.left > 0) return undefined;
    const piece = unmask(frame, bytes.subarray(0, frame.left));
    frame.left -= piece.length;
    const message = this.#message;
    const last = frame.fin && frame.left === 0;
    if (frame.left === 0) this.#frame = undefined;
    if (message !== undefined) {
      if (last) this.#message = undefined;
      const first = !message.begun;
      message.begun = true;
      this.#sink.message({ text: message.text, piece, first, last });
    }
    return piece.length;
  }
}

function checkControl(code: number): void {
  if (code > opcode.pong) throw new WebSocketError(closeCode.protocolError, `opcode ${code}`);
}

/** A length in more bytes: it must need them, and its top bit must be 0 (RFC 6455, 5.2). */
function longLength(bytes: Buffer, lengthBytes: 2 | 8): number {
  const length = lengthBytes === 2 ? BigInt(bytes.readUInt16BE(2)) : bytes.readBigUInt64BE(2);
  if (length >= 2n ** 63n) throw new WebSocketError(closeCode.protocolError, "a negative length");
  if (length < (lengthBytes === 2 ? 126n : 0x1_0000n)) {
    throw new WebSocketError(closeCode.protocolError, "a length in more bytes than it needs");
  }
  return length > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : Number(length);
}

/** In place: the bytes belong to this connection. */
function unmask(frame: Current, bytes: Buffer): Buffer {
  if (frame.mask !== undefined) applyMask(bytes, frame.mask, frame.at);
  frame.at = (frame.at + bytes.length) & 3;
  return bytes;
}

/** Up to this length bytes are masked one by one: creating views takes longer. */
const smallBytes = 64;

/** Masks words of four bytes, for speed. `at` is the offset in the frame. */
function applyMask(bytes: Buffer, mask: Buffer, at: number): void {
  const lead = bytes.length < smallBytes ? bytes.length : -bytes.byteOffset & 3;
  const count = (bytes.length - lead) >> 2;
  maskBytes(bytes.subarray(0, lead), mask, at);
  if (count === 0) return;
  const rotated = Uint8Array.from({ length: 4 }, (_, i) => mask[(i + at + lead) & 3] ?? 0);
  const [word = 0] = new Int32Array(rotated.buffer);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + lead, count);
  for (let i = 0; i < count; i++) words[i] = (words[i] ?? 0) ^ word;
  // Whole words do not rotate the mask.
  maskBytes(bytes.subarray(lead + 4 * count), mask, at + lead);
}

function maskBytes(bytes: Buffer, mask: Buffer, at: number): void {
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = (bytes[i] ?? 0) ^ (mask[(i + at) & 3] ?? 0);
  }
}

/** The parts of a whole frame. A client's frame is masked, which needs a copy; a server's is not. */
export function frameParts(
  code: number,
  parts: readonly Buffer[],
  masked: boolean,
): readonly Buffer[] {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = frameHead(code, length, masked);
  if (!masked) return [head, ...parts];
  const mask = randomBytes(4);
  const payload = Buffer.concat(parts);
  applyMask(payload, mask, 0);
  return [head, mask, payload];
}

function frameHead(code: number, length: number, masked: boolean): Buffer {
  const maskBit = masked ? 0x80 : 0;
  if (length < 126) return Buffer.from([0x80 | code, maskBit | length]);
  if (length < 0x10000)
    return Buffer.from([0x80 | code, maskBit | 126, length >> 8, length & 0xff]);
  const head = Buffer.alloc(10);
  head.writeUInt8(0x80 | code, 0);
  head.writeUInt8(maskBit | 127, 1);
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}
