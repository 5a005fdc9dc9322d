// The gRPC wire format on top of HTTP/2, as pure functions of bytes and strings:
// doc/PROTOCOL-HTTP2.md of the gRPC project. The sockets are in server.ts and client.ts.
import type { Writable } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { Gatherer } from "../gatherer.ts";

/** Bytes before each message: one flag byte and the length, big-endian. */
const prefixBytes = 5;

const compressedFlag = 1;

/** The message with its prefix, uncompressed, in one buffer: one DATA frame if the window allows it. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(prefixBytes + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, prefixBytes);
  return framed;
}

/** Larger messages are not copied to join them with their prefix. */
const copyBelowBytes = 16 * 1024;

/**
 * Writes a framed message to a stream, and ends the stream after the `last` message. In both cases
 * it is one write to the stream below, so one DATA frame if size and window allow it.
 *
 * @returns the result of `write()`: whether the stream's buffer can take more
 */
export function writeMessage(stream: Writable, message: Uint8Array, last: boolean): boolean {
  if (message.length < copyBelowBytes) {
    const framed = frame(message);
    if (!last) return stream.write(framed);
    stream.end(framed);
    return true;
  }
  stream.cork();
  stream.write(messagePrefix(message.length));
  const canTakeMore = stream.write(message);
  // end() uncorks.
  if (last) stream.end();
  else stream.uncork();
  return canTakeMore;
}

/** The bytes before a message of this size, which is not compressed. */
export function messagePrefix(size: number): Buffer {
  const bytes = Buffer.allocUnsafe(prefixBytes);
  bytes[0] = 0;
  bytes.writeUInt32BE(size, 1);
  return bytes;
}

/**
 * Splits a stream of chunks into messages, independent of the boundaries of the chunks. Buffers at most
 * one incomplete message, and rejects a message that is too large by its prefix, before its bytes arrive.
 */
export class MessageReader {
  readonly #maxBytes: number;
  /** Undefined until a message arrives in more than one chunk; most do not. */
  #unfinished: Gatherer | undefined;

  /** @param maxBytes the largest message accepted, without its prefix */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Buffered bytes of the incomplete message. */
  get heldBytes(): number {
    return this.#unfinished?.length ?? 0;
  }

  /**
   * The messages that `chunk` completes, in order. They may share memory with the chunk.
   *
   * @throws RuntimeError `resource-exhausted` for a message over the limit, `unimplemented` for a
   *   compressed one, `internal` for an invalid prefix. The reader cannot be used afterwards.
   */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    for (let rest = chunk; rest.length > 0; ) {
      const message = this.heldBytes > 0 ? undefined : this.#whole(rest);
      if (message === undefined) {
        rest = rest.subarray(this.#gather(rest, messages));
      } else {
        messages.push(message);
        rest = rest.subarray(prefixBytes + message.length);
      }
    }
    return messages;
  }

  /** @throws RuntimeError `internal` when the stream ended inside a message. */
  end(): void {
    const held = this.heldBytes;
    if (held === 0) return;
    throw new RuntimeError(
      "internal",
      `read message: the stream ended inside one, after ${held} bytes`,
    );
  }

  /** The message at the start of the bytes, as a view of them; undefined when it is incomplete. */
  #whole(bytes: Buffer): Buffer | undefined {
    if (bytes.length < prefixBytes) return undefined;
    const end = prefixBytes + this.#sizeOf(bytes.readUInt8(0), bytes.readUInt32BE(1));
    return bytes.length < end ? undefined : bytes.subarray(prefixBytes, end);
  }

  /** Adds bytes to the incomplete message. Returns how many bytes of the start of `bytes` it used. */
  #gather(bytes: Buffer, messages: Buffer[]): number {
    const held = (this.#unfinished ??= new Gatherer());
    let taken = held.length < prefixBytes ? held.fill(bytes, prefixBytes) : 0;
    if (held.length < prefixBytes) return taken;
    const end = prefixBytes + this.#sizeOf(held.byteAt(0), held.uint32At(1));
    taken += held.fill(bytes.subarray(taken), end);
    if (held.length === end) messages.push(held.take().subarray(prefixBytes));
    return taken;
  }

  #sizeOf(flag: number, size: number): number {
    if (flag > compressedFlag) {
      throw new RuntimeError(
        "internal",
        `read message: its flag byte must be 0 or 1; it is ${flag}`,
      );
    }
    if (flag === compressedFlag) {
      throw new RuntimeError(
        "unimplemented",
        "read message: it is compressed, and only the encoding identity is supported",
      );
    }
    if (size > this.#maxBytes) throw tooLarge("read message", size, this.#maxBytes);
    return size;
  }
}

/** The error for a message over the size limit, in either direction. */
export function tooLarge(doing: string, size: number, limit: number): RuntimeError {
  return new RuntimeError(
    "resource-exhausted",
    `${doing}: ${size} bytes are more than the limit of ${limit}`,
  );
}

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * Milliseconds (with fractions) of a `grpc-timeout` header, such as `5S` or `250m`.
 *
 * @throws RuntimeError `invalid-argument` for anything but 1 to 8 digits and a unit.
 */
export function parseTimeout(header: string): number {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(header) ?? [];
  const factor = unit === undefined ? undefined : unitMs[unit];
  if (digits === undefined || factor === undefined) {
    throw new RuntimeError(
      "invalid-argument",
      `parse grpc-timeout: it must be digits and one of HMSmun; it is "${header.slice(0, 32)}"`,
    );
  }
  return Number(digits) * factor;
}

/** The `grpc-timeout` header for a time in milliseconds, rounded up; never more than 8 digits. */
export function formatTimeout(timeoutMs: number): string {
  const ms = Math.max(0, Math.ceil(timeoutMs));
  if (ms < 1e8) return `${ms}m`;
  const seconds = Math.ceil(ms / 1000);
  return seconds < 1e8 ? `${seconds}S` : `${Math.min(Math.ceil(seconds / 3600), 99_999_999)}H`;
}

/**
 * Longest `grpc-message` that is sent, in encoded characters: clients limit the size of a header
 * block (grpc-js and Node: 64 KiB in total) and drop the whole response when it is larger.
 */
const maxStatusMessage = 8 * 1024;

/** The message as `grpc-message` carries it: percent-encoded UTF-8, truncated when it is very long. */
export function encodeStatusMessage(message: string): string {
  if (message.length <= maxStatusMessage && /^(?:[!-$&-~](?:[ -$&-~]*[!-$&-~])?)?$/.test(message)) {
    return message;
  }
  let encoded = "";
  for (const character of message) {
    // Spaces, too: HTTP/2 forbids them at the start and end of a header value.
    const next = /^[!-$&-~]$/.test(character) ? character : percentEncoded(character);
    if (encoded.length + next.length > maxStatusMessage) return `${encoded}...`;
    encoded += next;
  }
  return encoded;
}

function percentEncoded(character: string): string {
  let encoded = "";
  for (const byte of Buffer.from(character, "utf8")) {
    encoded += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** The text of a `grpc-message` header. Text that is not valid percent-encoding is not changed. */
export function decodeStatusMessage(header: string): string {
  if (!header.includes("%")) return header;
  const bytes = header.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, "latin1").toString("utf8");
}
