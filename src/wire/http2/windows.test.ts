// What a client may send, and what it allows to be sent: RFC 9113, section 5.2.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodeHeaders } from "./hpack/index.ts";
import { limits } from "./limits.ts";
import { clientPreface, errorCode, flag, frameType, setting } from "./protocol.ts";
import {
  dataFrame,
  number32,
  RawClient,
  rawFrame,
  requestFrame,
  settingFrame,
} from "./testing/raw-client.ts";

const okBlock = encodeHeaders([[":status", "200"]]);
const endBlock = encodeHeaders([["grpc-status", "0"]]);
const { flowControlError } = errorCode;
const { headers, windowUpdate, continuation } = frameType;

describe("the windows of a client", () => {
  test("limit what is sent on a stream and on the connection, byte by byte", async () => {
    const message = Buffer.from("abcdef");
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.write(message);
      stream.end(endBlock);
    });
    client.send(clientPreface, settingFrame(setting.initialWindowSize, 1), requestFrame(1, true));
    assert.deepEqual((await client.next(frameType.data, 1)).payload, Buffer.from("a"));
    client.send(rawFrame(windowUpdate, 0, 1, number32(2)));
    assert.deepEqual((await client.next(frameType.data, 1)).payload, Buffer.from("bc"));
    // A smaller initial window makes that of the stream negative: RFC 9113, section 6.9.2.
    client.send(
      settingFrame(setting.initialWindowSize, 0),
      rawFrame(windowUpdate, 0, 1, number32(1)),
    );
    await client.settled();
    assert.equal(client.streams[0]?.stream.unsentBytes, 3);
    client.send(settingFrame(setting.initialWindowSize, 4));
    const { data } = await client.body(1);
    assert.equal(data.toString(), "def");
    assert.equal(client.streams[0].isClosed, true);
  });

  test("of a connection that is used up holds back data, but no other response", async () => {
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock, stream.id > 1);
      if (stream.id > 1) return;
      stream.write(Buffer.alloc(100_000));
      stream.end(endBlock);
    });
    client.send(clientPreface, settingFrame(setting.initialWindowSize, 200_000));
    client.send(requestFrame(1, true));
    let bytes = 0;
    while (bytes < 65_535) bytes += (await client.next(frameType.data, 1)).payload.length;
    client.send(requestFrame(3, true));
    assert.equal((await client.next(headers, 3)).flags & flag.endStream, flag.endStream);
    assert.equal(client.streams[0]?.stream.unsentBytes, 100_000 - 65_535);
    client.send(rawFrame(windowUpdate, 0, 0, number32(100_000)));
    assert.equal((await client.body(1)).data.length, 100_000 - 65_535);
  });

  test("are shared by streams in turn", async () => {
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.write(Buffer.alloc(40_000));
      stream.end(endBlock);
    });
    client.greet(requestFrame(1, true), requestFrame(3, true));
    const order: number[] = [];
    while (order.length < 4) order.push((await client.next(frameType.data)).streamId);
    assert.deepEqual(order, [1, 3, 1, 3]);
  });

  test("split long trailers, and an encoder table that the client forbids is given up", async () => {
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.end(encodeHeaders([["x-long", "y".repeat(20_000)]]));
    });
    client.send(clientPreface, settingFrame(setting.headerTableSize, 0), requestFrame(1, true));
    // RFC 7541, section 4.2: the size of the table comes first.
    assert.equal((await client.next(headers, 1)).payload[0], 0x20);
    const trailers = await client.next(headers, 1);
    assert.deepEqual([trailers.payload.length, trailers.flags], [16_384, flag.endStream]);
    assert.equal((await client.next(continuation, 1)).flags, flag.endHeaders);
  });
});

describe("the windows of the server", () => {
  test("end a stream, and a connection, whose client sends more", async () => {
    await using client = await RawClient.open((stream) => stream.pause());
    const full = Array.from({ length: 65 }, () => dataFrame(1, Buffer.alloc(16_384)));
    client.greet(requestFrame(1), ...full);
    assert.equal(await client.resetCode(1), flowControlError);
    await client.settled();
  });

  test("are widened when data is read, and not before", async () => {
    await using client = await RawClient.open((stream) => stream.pause());
    const half = Array.from({ length: 40 }, () => dataFrame(1, Buffer.alloc(16_384, 1)));
    client.greet(requestFrame(1), ...half);
    await client.settled();
    assert.equal(client.streams[0]?.received.length, 0);
    client.streams[0].stream.resume();
    assert.equal(Buffer.concat(client.streams[0].received).length, 40 * 16_384);
    const update = await client.next(windowUpdate, 1);
    assert.ok(update.payload.readUInt32BE(0) >= limits.streamWindowBytes / 2);
  });

  test("of the connection stay open for others while a stream is not read", async () => {
    await using client = await RawClient.open((stream) => {
      if (stream.id < 11) stream.pause();
    });
    const burst = Array.from({ length: 64 }, () => Buffer.alloc(16_384));
    client.greet();
    // Six times the window of a stream: more than that of the connection.
    for (const id of [1, 3, 5, 7, 9, 11]) {
      client.send(requestFrame(id), ...burst.map((data) => dataFrame(id, data)));
      await client.settled();
    }
    assert.equal(Buffer.concat(client.streams[5]?.received ?? []).length, 64 * 16_384);
  });
});
