// Frames of NRI's multiplexer (pkg/net/multiplex of the NRI project): a header of eight bytes, big-endian, the id of a
// logical connection and the length, and data. The data of a connection is a stream: a frame may have a part of a
// ttrpc message, or several messages.
import { RuntimeError } from "../../base/errors.ts";
import { Gatherer } from "../gatherer.ts";
import { headerBytes as messageHeaderBytes, maxDataBytes } from "./frame.ts";

/** Bytes before the data of a frame: id (4), length (4). */
export const headerBytes = 8;
/** The most data of a frame: a ttrpc message with its header. */
const maxFrameBytes = messageHeaderBytes + maxDataBytes;
/**
 * NOTE(nri): the Go implementation reads each frame into the buffer that its reader happens to have, and gives the
 * connection up when the frame is larger. That buffer has 4096 bytes at the start of a message; with these bytes taken, it
 * has room for the rest of the message.
 */
const firstFrameBytes = 4096;

/** Data that arrived for a logical connection. */
export interface MultiplexedData {
  readonly connection: number;
  readonly data: Buffer;
}

/** The frames for one ttrpc message, which is given with its header: in one piece, or in two for a large message. */
export function encodeMessage(connection: number, message: Uint8Array): Buffer {
  const first = Math.min(message.length, firstFrameBytes);
  const rest = message.length - first;
  const bytes = Buffer.allocUnsafe(message.length + headerBytes * (rest > 0 ? 2 : 1));
  bytes.writeUInt32BE(connection, 0);
  bytes.writeUInt32BE(first, 4);
  bytes.set(message.subarray(0, first), headerBytes);
  if (rest > 0) {
    const at = headerBytes + first;
    bytes.writeUInt32BE(connection, at);
    bytes.writeUInt32BE(rest, at + 4);
    bytes.set(message.subarray(first), at + headerBytes);
  }
  return bytes;
}

/**
 * Splits what arrives into the data of the logical connections, as it arrives: it keeps at most a header. Throws
 * `data-loss` for a frame that is longer than any ttrpc message; the connection cannot be used any more then.
 */
export class MultiplexerReader {
  readonly #header = new Gatherer();
  #connection = 0;
  /** Bytes of the current frame that have not arrived. */
  #left = 0;

  /** The data in `chunk`. */
  *push(chunk: Buffer): Generator<MultiplexedData, void, undefined> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#left === 0) {
        rest = rest.subarray(this.#header.fill(rest, headerBytes));
        if (this.#header.length < headerBytes) return;
        this.#readHeader();
        continue;
      }
      const data = rest.subarray(0, Math.min(rest.length, this.#left));
      rest = rest.subarray(data.length);
      this.#left -= data.length;
      yield { connection: this.#connection, data };
    }
  }

  #readHeader(): void {
    const header = this.#header.take();
    const length = header.readUInt32BE(4);
    if (length > maxFrameBytes) {
      throw new RuntimeError(
        "data-loss",
        `read frame of the multiplexer: malformed header ${header.toString("hex")}`,
      );
    }
    this.#connection = header.readUInt32BE(0);
    this.#left = length;
  }
}
