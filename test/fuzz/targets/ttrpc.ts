/** Frames of ttrpc, which containerd's shims send. */
import assert from "node:assert/strict";

import { encodeFrame, type Frame, FrameReader } from "../../../src/wire/ttrpc/frame.ts";
import { attempt, type FuzzTarget, pieces } from "../target.ts";

function read(chunks: readonly Buffer[]): {
  readonly frames: readonly Frame[];
  readonly failed: boolean;
} {
  const frames: Frame[] = [];
  const done = attempt(["data-loss"], () => {
    const reader = new FrameReader();
    for (const chunk of chunks) for (const frame of reader.push(chunk)) frames.push(frame);
    return true;
  });
  return {
    frames: frames.map((frame) => ({ ...frame, data: Buffer.from(frame.data) })),
    failed: done === undefined,
  };
}

export const target: FuzzTarget = {
  name: "ttrpc",
  seeds: () => [
    encodeFrame({ streamId: 1, type: 1, flags: 0 }, Buffer.from("request")),
    encodeFrame({ streamId: 2 ** 32 - 1, type: 3, flags: 5 }),
    Buffer.concat([1, 2, 3].map((type) => encodeFrame({ streamId: type, type, flags: 2 }))),
    Buffer.from("00400001000000010100", "hex"),
    Buffer.from("01000000000000010100", "hex"),
  ],
  words: ["\0\0\0\0\0\0\0\x01\x02\0", "\0\x40\0\0", "\0\xff\xff\xff"],
  check: (input) => {
    const whole = read([input]);
    assert.deepEqual(read(pieces(input)), whole);
    let at = 0;
    for (const frame of whole.frames) {
      if (frame.oversized) return; // its data is dropped
      const again = encodeFrame(frame, frame.data);
      assert.deepEqual(again, input.subarray(at, at + again.length));
      at += again.length;
    }
  },
};
