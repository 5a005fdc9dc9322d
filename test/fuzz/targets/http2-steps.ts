/**
 * A connection of the HTTP/2 server, as a sequence of frames of a client, of what handlers do, and of a client that reads
 * or does not. Lengths of frames are right, so that mutations reach what is behind them. A strict client reads what the
 * server sends. The target `http2` has any bytes, in any chunks.
 */
import fc from "fast-check";

import { encodeHeaders } from "../../../src/wire/http2/hpack/index.ts";
import { flag, frameType, setting } from "../../../src/wire/http2/protocol.ts";
import { number32, rawFrame } from "../../../src/wire/http2/testing/raw-client.ts";
import { Session } from "../http2/session.ts";
import { action, step, stepsOf } from "../http2/steps.ts";
import type { FuzzTarget } from "../target.ts";

const request = encodeHeaders([
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/runtime.v1.RuntimeService/Version"],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
]);
const settings = (id: number, value: number): Buffer =>
  step(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, id]), number32(value)]));
const update = (streamId: number, bytes: number): Buffer =>
  step(frameType.windowUpdate, 0, streamId, number32(bytes));
const hello = step(frameType.settings, 0, 0);
const both = flag.endHeaders | flag.endStream;
const open = (streamId: number, flags: number = both): Buffer =>
  step(frameType.headers, flags, streamId, request);

const streamIds = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(1, 3, 5, 7, 9) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
);
const bytes = fc.oneof(
  fc.constantFrom(0, 1, 100, 16_384, 65_535, 0x7fffffff, 0xffffffff),
  fc.integer({ min: 0, max: 200_000 }),
);
const anyFlags = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(0, 1, 4, 5) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
);
const payloads = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.integer({ min: 0, max: 16_384 }).map((length) => Buffer.alloc(length, 1)),
);
const anyStep = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom(0, 2, 4, 6, 7, 9, 10), anyFlags, streamIds, payloads)
      .map((parts) => step(...parts)),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(streamIds, payloads)
      .map(([id, payload]) => step(frameType.data, 0, id, payload)),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(streamIds, fc.constantFrom(4, 4, 5)).map(([id, flags]) => open(id, flags)),
  },
  { weight: 3, arbitrary: streamIds.map((id) => step(frameType.data, 1, id)) },
  {
    weight: 3,
    arbitrary: streamIds.map((id) => step(frameType.rstStream, 0, id, Buffer.alloc(4))),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.oneof(fc.constant(0), streamIds), bytes)
      .map(([id, value]) => update(id, value)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 8 }), bytes)
      .map(([id, value]) => settings(id, value)),
  },
  {
    weight: 20,
    arbitrary: fc
      .tuple(
        fc.integer({ min: action.respond, max: action.stop }),
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 8 }),
      )
      .map(([type, flags, id]) => step(type, flags, id)),
  },
);

export const target: FuzzTarget = {
  name: "http2-steps",
  seeds: () => [
    // A stream that waits for its window, and one that waits for that of the connection.
    Buffer.concat([
      settings(setting.initialWindowSize, 0),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 99, 0),
      step(action.turn, 0, 0),
      update(1, 500),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      settings(setting.initialWindowSize, 1_000_000),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 99, 0),
      step(action.turn, 0, 0),
      update(0, 500),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      settings(setting.initialWindowSize, 1_000_000),
      update(0, 1_000_000),
      open(1),
      open(3),
      step(action.respond, 0, 0),
      step(action.respond, 0, 1),
      step(action.write, 255, 0),
      step(action.write, 255, 1),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      hello,
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 9, 0),
      step(action.end, 0, 0),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      hello,
      open(1, flag.endHeaders),
      step(action.pause, 0, 0),
      step(frameType.data, 0, 1, Buffer.alloc(900)),
      step(action.resume, 0, 0),
      step(frameType.data, 1, 1),
    ]),
    Buffer.concat([
      settings(setting.initialWindowSize, 0),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 99, 0),
      update(1, 500),
      step(action.turn, 0, 0),
      step(frameType.rstStream, 0, 1, Buffer.alloc(4)),
    ]),
    Buffer.concat([
      hello,
      step(action.stopReading, 0, 0),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 255, 0),
      step(action.turn, 0, 0),
      step(action.stop, 0, 0),
      step(action.read, 0, 0),
    ]),
    Buffer.concat([
      hello,
      step(frameType.headers, 0, 1, request.subarray(0, 9)),
      step(frameType.continuation, 4, 1, request.subarray(9)),
      step(action.reject, 0, 0),
      step(action.respond, 1, 0),
    ]),
    Buffer.concat([
      hello,
      step(frameType.ping, 0, 0, Buffer.alloc(8)),
      step(frameType.goAway, 0, 0, Buffer.alloc(8)),
      step(frameType.priority, 0, 1, Buffer.alloc(5)),
      step(action.raw, 0, 0, rawFrame(0, 8, 1, Buffer.alloc(20, 1))),
    ]),
  ],
  words: [
    hello,
    open(1),
    open(3),
    open(5, flag.endHeaders),
    step(action.respond, 0, 0),
    step(action.write, 255, 0),
    step(action.end, 0, 0),
    step(action.turn, 0, 0),
    update(0, 100_000),
    update(1, 0x7fffffff),
    settings(setting.initialWindowSize, 0),
  ].map((word) => word.toString("latin1")),
  structured: fc
    .array(anyStep, { maxLength: 60, size: "max" })
    .map((steps) => Buffer.concat([hello, ...steps])),
  maxBytes: 64 * 1024,
  limitMs: (length) => 1000 + length / 8,
  check: async (input) => {
    await new Session().run(stepsOf(input));
  },
};
