// What a ServerConnection does with the frames of a client: RFC 9113.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodeHeaders } from "./hpack/index.ts";
import { limits } from "./limits.ts";
import { clientPreface, errorCode, flag, frameType, setting } from "./protocol.ts";
import {
  clientGreeting,
  dataFrame,
  number32,
  RawClient,
  rawFrame,
  requestFields,
  requestFrame,
  settingFrame,
} from "./testing/raw-client.ts";

const block = encodeHeaders(requestFields);
const okBlock = encodeHeaders([[":status", "200"]]);
const endBlock = encodeHeaders([["grpc-status", "0"]]);
const eight = Buffer.alloc(8);
const { protocolError, frameSizeError, flowControlError, streamClosed } = errorCode;
const { headers, priority, rstStream, settings, ping, goAway, windowUpdate, continuation } =
  frameType;

describe("a connection", () => {
  test("begins with the settings of the server, and acknowledges those of the client", async () => {
    await using client = await RawClient.open();
    const { payload } = await client.next(settings);
    const entries = new Map<number, number>();
    for (let at = 0; at < payload.length; at += 6) {
      entries.set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
    }
    assert.equal(entries.get(setting.maxConcurrentStreams), limits.maxStreams);
    assert.equal(entries.get(setting.initialWindowSize), limits.streamWindowBytes);
    assert.equal(entries.get(setting.maxHeaderListSize), limits.maxHeaderListBytes);
    const wider = (await client.next(windowUpdate, 0)).payload.readUInt32BE(0);
    assert.equal(65_535 + wider, limits.connectionWindowBytes);
    client.greet();
    assert.equal((await client.next(settings)).flags, flag.ack);
  });

  test("may arrive in pieces of a byte", async () => {
    await using client = await RawClient.open();
    const bytes = Buffer.concat([
      clientGreeting,
      requestFrame(1),
      rawFrame(frameType.data, flag.padded, 1, Buffer.from([2, 1, 2, 3, 0, 0])),
      dataFrame(1, Buffer.from([4]), true),
    ]);
    for (const byte of bytes) client.connection.socket.emit("data", Buffer.from([byte]));
    await client.settled();
    const [seen] = client.streams;
    assert.deepEqual(Buffer.concat(seen?.received ?? []), Buffer.from([1, 2, 3, 4]));
    assert.equal(seen?.hasEnded, true);
  });

  test("ignores padding, priority, unknown frames, unknown settings and trailers", async () => {
    await using client = await RawClient.open();
    const padded = Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 16]), block, Buffer.alloc(3)]);
    const trailers = encodeHeaders([["x-end", "1"]]);
    client.greet(
      settingFrame(99, 1),
      rawFrame(200, 255, 7, eight),
      rawFrame(priority, 0, 5, Buffer.alloc(5)),
      rawFrame(headers, flag.padded | flag.priority | flag.endHeaders, 1, padded),
      dataFrame(1, Buffer.from("x")),
      rawFrame(headers, flag.endHeaders | flag.endStream, 1, trailers),
    );
    await client.settled();
    assert.deepEqual([client.streams[0]?.hasEnded, client.streams[0]?.received.length], [true, 1]);
  });

  test("joins a header block of several frames", async () => {
    await using client = await RawClient.open();
    client.greet(
      rawFrame(headers, flag.endStream, 1, block.subarray(0, 2)),
      rawFrame(continuation, 0, 1, block.subarray(2, 3)),
      rawFrame(continuation, flag.endHeaders, 1, block.subarray(3)),
    );
    await client.settled();
    assert.deepEqual(
      [client.streams[0]?.hasEnded, client.streams[0]?.stream.head.path],
      [true, "/test"],
    );
  });

  const open = requestFrame(1);
  const ended = requestFrame(1, true);
  const tooMany = Buffer.concat(Array.from({ length: 33 }, () => Buffer.from([0, 99, 0, 0, 0, 0])));
  for (const [what, code, frames] of [
    ["no SETTINGS first", protocolError, [clientPreface, rawFrame(ping, 0, 0, eight)]],
    ["SETTINGS on a stream", protocolError, [clientGreeting, rawFrame(settings, 0, 1)]],
    [
      "SETTINGS of 5 bytes",
      frameSizeError,
      [clientGreeting, rawFrame(settings, 0, 0, Buffer.alloc(5))],
    ],
    [
      "an acknowledgment with entries",
      frameSizeError,
      [clientGreeting, rawFrame(settings, 1, 0, Buffer.alloc(6))],
    ],
    [
      "too many SETTINGS",
      errorCode.enhanceYourCalm,
      [clientGreeting, rawFrame(settings, 0, 0, tooMany)],
    ],
    ["ENABLE_PUSH of 2", protocolError, [clientGreeting, settingFrame(setting.enablePush, 2)]],
    [
      "an initial window of 2^31",
      flowControlError,
      [clientGreeting, settingFrame(setting.initialWindowSize, 2 ** 31)],
    ],
    [
      "MAX_FRAME_SIZE of 16383",
      protocolError,
      [clientGreeting, settingFrame(setting.maxFrameSize, 16_383)],
    ],
    [
      "MAX_FRAME_SIZE of 2^24",
      protocolError,
      [clientGreeting, settingFrame(setting.maxFrameSize, 2 ** 24)],
    ],
    ["PING of 7 bytes", frameSizeError, [clientGreeting, rawFrame(ping, 0, 0, Buffer.alloc(7))]],
    ["PING on a stream", protocolError, [clientGreeting, rawFrame(ping, 0, 1, eight)]],
    ["a short GOAWAY", frameSizeError, [clientGreeting, rawFrame(goAway, 0, 0, Buffer.alloc(7))]],
    ["GOAWAY on a stream", protocolError, [clientGreeting, rawFrame(goAway, 0, 1, eight)]],
    [
      "PUSH_PROMISE",
      protocolError,
      [clientGreeting, rawFrame(5, 4, 1, Buffer.concat([number32(2), block]))],
    ],
    [
      "PRIORITY without a stream",
      protocolError,
      [clientGreeting, rawFrame(priority, 0, 0, Buffer.alloc(5))],
    ],
    [
      "PRIORITY of 4 bytes",
      frameSizeError,
      [clientGreeting, rawFrame(priority, 0, 1, Buffer.alloc(4))],
    ],
    [
      "a frame of 16385 bytes",
      frameSizeError,
      [clientGreeting, dataFrame(1, Buffer.alloc(16_385))],
    ],
    ["HEADERS without a stream", protocolError, [clientGreeting, requestFrame(0)]],
    ["HEADERS on an even stream", protocolError, [clientGreeting, requestFrame(2)]],
    [
      "HEADERS of an older stream",
      streamClosed,
      [clientGreeting, requestFrame(5), requestFrame(3)],
    ],
    [
      "HEADERS shorter than its padding",
      protocolError,
      [clientGreeting, rawFrame(headers, 12, 1, Buffer.from([9, 0]))],
    ],
    ["HEADERS without its pad length", frameSizeError, [clientGreeting, rawFrame(headers, 12, 1)]],
    [
      "a malformed header block",
      errorCode.compressionError,
      [clientGreeting, rawFrame(headers, 4, 1, Buffer.from([0x80]))],
    ],
    [
      "CONTINUATION without HEADERS",
      protocolError,
      [clientGreeting, rawFrame(continuation, 4, 1, block)],
    ],
    [
      "CONTINUATION of another stream",
      protocolError,
      [clientGreeting, rawFrame(headers, 0, 1, block), rawFrame(continuation, 4, 3)],
    ],
    [
      "a frame within a header block",
      protocolError,
      [clientGreeting, rawFrame(headers, 0, 1, block), rawFrame(ping, 0, 0, eight)],
    ],
    [
      "DATA within a header block",
      protocolError,
      [clientGreeting, open, rawFrame(headers, 0, 3, block), dataFrame(1, eight)],
    ],
    ["DATA on an idle stream", protocolError, [clientGreeting, dataFrame(1, eight)]],
    ["DATA without a stream", protocolError, [clientGreeting, dataFrame(0, eight)]],
    [
      "DATA shorter than its padding",
      protocolError,
      [clientGreeting, open, rawFrame(0, flag.padded, 1, Buffer.from([2, 0]))],
    ],
    [
      "DATA without its pad length",
      frameSizeError,
      [clientGreeting, open, rawFrame(0, flag.padded, 1)],
    ],
    [
      "RST_STREAM on an idle stream",
      protocolError,
      [clientGreeting, rawFrame(rstStream, 0, 1, number32(8))],
    ],
    [
      "RST_STREAM without a stream",
      protocolError,
      [clientGreeting, rawFrame(rstStream, 0, 0, number32(8))],
    ],
    [
      "RST_STREAM of 3 bytes",
      frameSizeError,
      [clientGreeting, open, rawFrame(rstStream, 0, 1, Buffer.alloc(3))],
    ],
    [
      "DATA after RST_STREAM",
      streamClosed,
      [clientGreeting, open, rawFrame(rstStream, 0, 1, number32(8)), dataFrame(1, eight)],
    ],
    [
      "HEADERS after RST_STREAM",
      streamClosed,
      [clientGreeting, open, rawFrame(rstStream, 0, 1, number32(8)), open],
    ],
    [
      "WINDOW_UPDATE on an idle stream",
      protocolError,
      [clientGreeting, rawFrame(windowUpdate, 0, 1, number32(1))],
    ],
    [
      "WINDOW_UPDATE of 0",
      protocolError,
      [clientGreeting, rawFrame(windowUpdate, 0, 0, number32(0))],
    ],
    [
      "WINDOW_UPDATE of 3 bytes",
      frameSizeError,
      [clientGreeting, rawFrame(windowUpdate, 0, 0, Buffer.alloc(3))],
    ],
    [
      "a window of the connection beyond 2^31",
      flowControlError,
      [clientGreeting, rawFrame(windowUpdate, 0, 0, number32(2 ** 31 - 1))],
    ],
    [
      "windows of streams beyond 2^31 by SETTINGS",
      flowControlError,
      [
        clientGreeting,
        ended,
        rawFrame(windowUpdate, 0, 1, number32(2 ** 31 - 1 - 65_535)),
        settingFrame(setting.initialWindowSize, 65_536),
      ],
    ],
  ] as const) {
    test(`ends with the right code for ${what}`, async () => {
      await using client = await RawClient.open();
      client.send(...frames);
      assert.equal(await client.goAwayCode(), code);
      for (const { isClosed } of client.streams) assert.ok(isClosed, "its streams end, too");
    });
  }

  for (const [what, code, frames] of [
    ["a malformed request", protocolError, [requestFrame(1, true, [[":method", "GET"]])]],
    [
      "headers beyond the limit",
      errorCode.enhanceYourCalm,
      [
        requestFrame(1, true, [
          ...requestFields,
          ["x", "y".repeat(16_000)],
          ["z", "y".repeat(300)],
        ]),
      ],
    ],
    ["DATA after the end", streamClosed, [ended, dataFrame(1, eight)]],
    ["HEADERS after the end", streamClosed, [ended, ended]],
    [
      "trailers that do not end the request",
      protocolError,
      [open, requestFrame(1, false, [["x-end", "1"]])],
    ],
    [
      "trailers with a pseudo-header",
      protocolError,
      [open, requestFrame(1, true, [[":path", "/"]])],
    ],
    [
      "more data than announced",
      protocolError,
      [requestFrame(1, false, [...requestFields, ["content-length", "7"]]), dataFrame(1, eight)],
    ],
    [
      "less data than announced",
      protocolError,
      [
        requestFrame(1, false, [...requestFields, ["content-length", "9"]]),
        dataFrame(1, eight, true),
      ],
    ],
    ["WINDOW_UPDATE of 0", protocolError, [open, rawFrame(windowUpdate, 0, 1, number32(0))]],
    [
      "a window beyond 2^31",
      flowControlError,
      [open, rawFrame(windowUpdate, 0, 1, number32(2 ** 31 - 1))],
    ],
  ] as const) {
    test(`resets only the stream for ${what}`, async () => {
      await using client = await RawClient.open();
      client.greet(...frames);
      assert.equal(await client.resetCode(1), code);
      client.send(requestFrame(3, true));
      await client.settled();
      assert.equal(client.streams.at(-1)?.stream.id, 3);
      for (const { stream, isClosed } of client.streams) assert.equal(isClosed, stream.id === 1);
    });
  }

  test("ignores what a client sends on a stream that the server has reset", async () => {
    await using client = await RawClient.open((stream) => stream.reset(errorCode.cancel));
    client.greet(requestFrame(1));
    assert.equal(await client.resetCode(1), errorCode.cancel);
    client.send(
      dataFrame(1, Buffer.alloc(10_000)),
      rawFrame(windowUpdate, 0, 1, number32(5)),
      rawFrame(headers, flag.endHeaders | flag.endStream, 1, encodeHeaders([["x-end", "1"]])),
      rawFrame(rstStream, 0, 1, number32(8)),
    );
    await client.settled();
  });

  test("refuses streams beyond the limit, and no others", async () => {
    await using client = await RawClient.open();
    client.greet(
      ...Array.from({ length: limits.maxStreams + 1 }, (_, i) => requestFrame(2 * i + 1)),
    );
    assert.equal(await client.resetCode(2 * limits.maxStreams + 1), errorCode.refusedStream);
    client.send(rawFrame(rstStream, 0, 1, number32(8)), requestFrame(2 * limits.maxStreams + 3));
    await client.settled();
    assert.equal(client.streams.length, limits.maxStreams + 1);
  });

  test("that stops answers open streams, ignores new ones, and closes", async () => {
    await using client = await RawClient.open();
    client.greet(requestFrame(1, true));
    await client.settled();
    client.connection.stop();
    const { payload } = await client.next(goAway);
    assert.deepEqual([payload.readUInt32BE(0), payload.readUInt32BE(4)], [1, errorCode.noError]);
    client.send(requestFrame(3), dataFrame(3, eight, true));
    await client.settled();
    assert.equal(client.streams.length, 1);
    client.streams[0]?.stream.respond(okBlock);
    client.streams[0]?.stream.end(endBlock);
    await client.body(1);
    assert.equal(await client.closed, undefined);
  });
});
