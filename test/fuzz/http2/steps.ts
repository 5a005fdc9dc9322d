/**
 * The input of the fuzz target `http2-steps`: steps of a client, of what handlers do, and of a client that reads or does
 * not.
 */
import type { RawFrame } from "../../../src/wire/http2/testing/raw-client.ts";

const none = Buffer.alloc(0);

/** What a step does beyond sending a frame whose type is the number. */
export const action = {
  raw: 0x20,
  respond: 0x21,
  write: 0x22,
  end: 0x23,
  reset: 0x24,
  pause: 0x25,
  resume: 0x26,
  reject: 0x27,
  stopReading: 0x28,
  read: 0x29,
  turn: 0x2a,
  stop: 0x2b,
} as const;

/** A step: type, flags and stream id have a byte each, the length of the payload two. */
export function* stepsOf(input: Buffer): Generator<RawFrame> {
  for (let at = 0; at + 5 <= input.length; ) {
    const end = at + 5 + input.readUInt16BE(at + 3);
    yield {
      type: input.readUInt8(at),
      flags: input.readUInt8(at + 1),
      streamId: input.readUInt8(at + 2),
      payload: input.subarray(at + 5, end),
    };
    at = end;
  }
}

export function step(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer = none,
): Buffer {
  const head = Buffer.from([type, flags, streamId, 0, 0]);
  head.writeUInt16BE(payload.length, 3);
  return Buffer.concat([head, payload]);
}
