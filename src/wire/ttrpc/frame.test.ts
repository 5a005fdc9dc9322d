import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { kindOf } from "../../base/errors.ts";
import { encodeFrame, type Frame, FrameReader, frameType, maxDataBytes } from "./frame.ts";
import { seededRandom } from "./testing/random.ts";

function read(reader: FrameReader, bytes: Uint8Array, split: () => number): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const next = Math.min(bytes.length, at + split());
    frames.push(...reader.push(bytes.subarray(at, next)));
    at = next;
  }
  return frames;
}

describe("FrameReader", () => {
  it("reads frames of encodeFrame(), for every split of the bytes", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = seededRandom(seed);
      const sent = Array.from({ length: 20 }, (_, at) => ({
        streamId: 2 * at + 1,
        type: 1 + random(3),
        flags: random(256),
        data: Uint8Array.from({ length: random(4) === 0 ? 0 : random(3000) }, () => random(256)),
      }));
      const bytes = Buffer.concat(sent.map((frame) => encodeFrame(frame, frame.data)));
      const got = read(new FrameReader(), bytes, () => 1 + random(700));
      assert.deepEqual(
        got.map(({ oversized, ...frame }) => {
          assert.equal(oversized, false);
          return { ...frame, data: Uint8Array.from(frame.data) };
        }),
        sent,
        `seed ${seed}`,
      );
    }
  });

  it("accepts a message at the limit, and skips a larger one", () => {
    const header = Buffer.from([0, 0x40, 0, 1, 0, 0, 0, 1, frameType.response, 0]);
    const bytes = Buffer.concat([
      encodeFrame({ streamId: 3, type: 2, flags: 0 }, new Uint8Array(maxDataBytes)),
      header,
      Buffer.alloc(maxDataBytes + 1),
      encodeFrame({ streamId: 5, type: 2, flags: 0 }, Buffer.from("next")),
    ]);
    const got = read(new FrameReader(), bytes, () => 65_536);
    assert.deepEqual(
      got.map(({ streamId, oversized, data }) => [streamId, oversized, data.length]),
      [
        [3, false, maxDataBytes],
        [1, true, 0],
        [5, false, 4],
      ],
    );
  });

  it("rejects malformed frames", () => {
    const none = [
      [1, 0, 0, 0, 0, 0, 0, 1, 1, 0], // longer than a frame can be
      [0, 0, 0, 0, 0, 0, 0, 1, 0, 0], // no type
      [0, 0, 0, 0, 0, 0, 0, 1, 4, 0],
      [0, 0, 0, 0, 0, 0, 0, 0, 1, 0], // no stream
    ];
    for (const bytes of none) {
      assert.throws(
        () => [...new FrameReader().push(Buffer.from(bytes))],
        (error) => kindOf(error) === "data-loss",
        bytes.join(" "),
      );
    }
  });

  it("encodeFrame() rejects data over the limit", () => {
    assert.throws(
      () => encodeFrame({ streamId: 1, type: 1, flags: 0 }, new Uint8Array(maxDataBytes + 1)),
      (error) => kindOf(error) === "resource-exhausted",
    );
  });

  it("treats any bytes as frames or as an error", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = seededRandom(seed);
      const reader = new FrameReader();
      const bytes = Uint8Array.from({ length: 200 }, () => random(random(2) === 0 ? 4 : 256));
      try {
        for (const frame of read(reader, bytes, () => 1 + random(30))) {
          assert.ok(frame.type >= 1 && frame.type <= 3 && frame.streamId > 0);
          assert.ok(frame.data.length <= bytes.length);
        }
      } catch (error) {
        assert.equal(kindOf(error), "data-loss", `seed ${seed}: ${String(error)}`);
      }
    }
  });
});
