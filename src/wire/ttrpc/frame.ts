// Frames of ttrpc (PROTOCOL.md of the ttrpc project): a header of ten bytes, big-endian, and data.
import { RuntimeError } from "../../base/errors.ts";
import { Gatherer } from "../gatherer.ts";

/** Bytes before a frame's data: length (4), stream id (4), type (1), flags (1). */
export const headerBytes = 10;
/** A frame with more data is rejected, and its call fails with `resource-exhausted`. */
export const maxDataBytes = 4 * 1024 * 1024;

/** Types of frames. */
export const frameType = { request: 1, response: 2, data: 3 } as const;
/** Flags in requests and data frames of streams. "remote" is the sender, from the view of the receiver. */
export const frameFlag = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const;

/** A received frame. */
export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
  /** True when the data exceeded the limit; it was read and dropped. */
  readonly oversized: boolean;
}

const empty = new Uint8Array(0);

/** Encodes a frame. `resource-exhausted` when the data exceeds the limit. */
export function encodeFrame(
  frame: Pick<Frame, "streamId" | "type" | "flags">,
  data: Uint8Array = empty,
): Buffer {
  if (data.length > maxDataBytes) {
    throw new RuntimeError(
      "resource-exhausted",
      `send ttrpc message: it has ${data.length} bytes, the limit is ${maxDataBytes}`,
    );
  }
  const bytes = Buffer.allocUnsafe(headerBytes + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.writeUInt32BE(frame.streamId, 4);
  bytes.writeUInt8(frame.type, 8);
  bytes.writeUInt8(frame.flags, 9);
  bytes.set(data, headerBytes);
  return bytes;
}

/**
 * Splits a byte stream into frames, independent of the boundaries of its chunks. Throws `data-loss` for a malformed
 * frame: the start of the next one is unknown then, so the connection cannot be used any more.
 */
export class FrameReader {
  readonly #gathered = new Gatherer();
  #header: { readonly length: number; readonly frame: Omit<Frame, "data"> } | undefined;
  /** Remaining bytes of data that is dropped. */
  #dropping = 0;

  /** The frames that `chunk` completes. */
  *push(chunk: Uint8Array): Generator<Frame, void, undefined> {
    let rest = chunk;
    for (;;) {
      if (this.#header === undefined) {
        rest = rest.subarray(this.#gathered.fill(rest, headerBytes));
        if (this.#gathered.length < headerBytes) return;
        this.#header = readHeader(this.#gathered.take());
        if (this.#header.frame.oversized) this.#dropping = this.#header.length;
      }
      const { length, frame } = this.#header;
      let data: Uint8Array = empty;
      if (frame.oversized) {
        const dropped = Math.min(this.#dropping, rest.length);
        rest = rest.subarray(dropped);
        this.#dropping -= dropped;
        if (this.#dropping > 0) return;
      } else if (this.#gathered.length === 0 && rest.length >= length) {
        data = rest.subarray(0, length);
        rest = rest.subarray(length);
      } else {
        rest = rest.subarray(this.#gathered.fill(rest, length));
        if (this.#gathered.length < length) return;
        data = this.#gathered.take();
      }
      this.#header = undefined;
      yield { ...frame, data };
    }
  }
}

function readHeader(header: Buffer): {
  readonly length: number;
  readonly frame: Omit<Frame, "data">;
} {
  const length = header.readUInt32BE(0);
  const frame = {
    streamId: header.readUInt32BE(4),
    type: header.readUInt8(8),
    flags: header.readUInt8(9),
    oversized: length > maxDataBytes,
  };
  // The first byte is reserved and always zero, which distinguishes a frame from other data.
  const known = frame.type >= frameType.request && frame.type <= frameType.data;
  if (length >= 1 << 24 || !known || frame.streamId === 0) {
    throw new RuntimeError(
      "data-loss",
      `read ttrpc frame: malformed header ${header.toString("hex")}`,
    );
  }
  return { length, frame };
}
