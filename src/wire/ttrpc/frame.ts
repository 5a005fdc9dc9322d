// Frames of ttrpc (PROTOCOL.md of the ttrpc project): a header of ten bytes, big-endian, and data.
import { RuntimeError } from "../../base/errors.ts";
import { Gatherer } from "../gatherer.ts";

/** Bytes before a frame's data: length (4), stream id (4), type (1), flags (1). */
export const headerBytes = 10;
/** A frame with more data is refused, and its call fails with `resource-exhausted`. */
export const maxDataBytes = 4 * 1024 * 1024;

/** What a frame is. */
export const frameType = { request: 1, response: 2, data: 3 } as const;
/** Set in requests and data frames of streams, as the sender sees itself: its peer's "remote". */
export const frameFlag = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const;

/** One frame, taken off the wire. */
export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
  /** True when the data was over the limit; it was read and dropped. */
  readonly oversized: boolean;
}

const empty = new Uint8Array(0);

/** A frame as it goes over the wire. `resource-exhausted` when the data is over the limit. */
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
 * Cuts a byte stream into frames, however it was split. Throws `data-loss` at what is no frame: the
 * place of the next one is not known then, so nothing after it can be believed.
 */
export class FrameReader {
  readonly #gathered = new Gatherer();
  #header: { readonly length: number; readonly frame: Omit<Frame, "data"> } | undefined;
  /** What is still to come of data that nobody wants. */
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
  // The first byte is reserved and always zero, which tells a frame from anything else.
  const known = frame.type >= frameType.request && frame.type <= frameType.data;
  if (length >= 1 << 24 || !known || frame.streamId === 0) {
    throw new RuntimeError(
      "data-loss",
      `read ttrpc frame: this is none: ${header.toString("hex")}`,
    );
  }
  return { length, frame };
}
