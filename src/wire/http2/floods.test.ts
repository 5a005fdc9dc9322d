// Floods of one client: its connection ends, or its stream, and what it costs the server is bounded.
import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { encodeHeaders } from "./hpack/index.ts";
import { limits, SharedMemory } from "./limits.ts";
import { errorCode, flag, frameType, setting } from "./protocol.ts";
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
import { heldBytes } from "../testing/held-bytes.ts";

const eight = Buffer.alloc(8);
const okBlock = encodeHeaders([[":status", "200"]]);
const endBlock = encodeHeaders([["grpc-status", "0"]]);
const { enhanceYourCalm } = errorCode;

/** Frames that cost the client little. More than the burst of any limit. */
function many(frame: (index: number) => Buffer, count = 20_000): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => frame(index)));
}

function cancel(streamId: number): Buffer {
  return rawFrame(frameType.rstStream, 0, streamId, number32(errorCode.cancel));
}

const open = requestFrame(1);

describe("a connection ends with ENHANCE_YOUR_CALM for", () => {
  for (const [what, flood] of [
    [
      "rapid reset (CVE-2023-44487)",
      many((i) => Buffer.concat([requestFrame(2 * i + 1), cancel(2 * i + 1)]), 5000),
    ],
    [
      "resets that it makes the server send (CVE-2025-8671)",
      many(
        (i) =>
          Buffer.concat([
            requestFrame(2 * i + 1),
            rawFrame(frameType.windowUpdate, 0, 2 * i + 1, number32(2 ** 31 - 1)),
          ]),
        200,
      ),
    ],
    [
      "resets by windows of 0 (CVE-2025-8671)",
      many(
        (i) =>
          Buffer.concat([
            requestFrame(2 * i + 1),
            rawFrame(frameType.windowUpdate, 0, 2 * i + 1, number32(0)),
          ]),
        200,
      ),
    ],
    [
      "resets by data after the end (CVE-2025-8671)",
      many((i) => Buffer.concat([requestFrame(2 * i + 1, true), dataFrame(2 * i + 1, eight)]), 200),
    ],
    [
      "empty header blocks (CVE-2019-9518)",
      many((i) => rawFrame(frameType.headers, flag.endHeaders, 2 * i + 1), 200),
    ],
    [
      "names without a character (CVE-2019-9516)",
      many(
        (i) =>
          rawFrame(
            frameType.headers,
            flag.endHeaders,
            2 * i + 1,
            Buffer.concat([encodeHeaders(requestFields), Buffer.alloc(3)]),
          ),
        200,
      ),
    ],
    [
      "headers beyond the limits",
      many(
        (i) =>
          requestFrame(2 * i + 1, true, [
            ...requestFields,
            ...Array.from({ length: 64 }, () => ["x", "y"] as const),
          ]),
        200,
      ),
    ],
    ["streams beyond the limit", many((i) => requestFrame(2 * i + 1), limits.maxStreams + 200)],
    [
      "CONTINUATION without end (CVE-2024-27316)",
      Buffer.concat([
        rawFrame(frameType.headers, 0, 1),
        many(() => rawFrame(frameType.continuation, 0, 1, Buffer.alloc(16_384)), 7),
      ]),
    ],
    [
      "empty CONTINUATION (CVE-2024-27316)",
      Buffer.concat([
        rawFrame(frameType.headers, 0, 1),
        many(() => rawFrame(frameType.continuation, 0, 1), 20),
      ]),
    ],
    ["PING (CVE-2019-9512)", many(() => rawFrame(frameType.ping, 0, 0, eight))],
    ["SETTINGS (CVE-2019-9515)", many(() => rawFrame(frameType.settings, 0, 0))],
    ["acknowledgments", many(() => rawFrame(frameType.settings, flag.ack, 0))],
    ["PRIORITY (CVE-2019-9513)", many(() => rawFrame(frameType.priority, 0, 1, Buffer.alloc(5)))],
    [
      "empty DATA (CVE-2019-9518)",
      Buffer.concat([open, many(() => dataFrame(1, Buffer.alloc(0)))]),
    ],
    [
      "padding without data",
      Buffer.concat([open, many(() => rawFrame(frameType.data, flag.padded, 1, Buffer.alloc(1)))]),
    ],
    [
      "WINDOW_UPDATE of the connection",
      many(() => rawFrame(frameType.windowUpdate, 0, 0, number32(1))),
    ],
    [
      "WINDOW_UPDATE of a stream",
      Buffer.concat([open, many(() => rawFrame(frameType.windowUpdate, 0, 1, number32(1)))]),
    ],
    ["frames of unknown types", many(() => rawFrame(99, 0, 0))],
    ["GOAWAY", many(() => rawFrame(frameType.goAway, 0, 0, eight))],
    ["resets of streams that have ended", Buffer.concat([open, cancel(1), many(() => cancel(1))])],
  ] as const) {
    test(what, async () => {
      await using client = await RawClient.open();
      client.socket.write(clientGreeting);
      client.socket.write(flood);
      assert.equal(await client.goAwayCode(), enhanceYourCalm);
      for (const { isClosed } of client.streams) assert.ok(isClosed);
      assert.ok(client.streams.length <= 2 * limits.resets.burst);
    });
  }

  test("a window of one byte that grows by one (CVE-2019-9511)", async () => {
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.write(Buffer.alloc(1_000_000));
      stream.end(endBlock);
    });
    client.greet(settingFrame(setting.initialWindowSize, 1), requestFrame(1, true));
    const dribble = many(() => rawFrame(frameType.windowUpdate, 0, 1, number32(1)), 100);
    void client.closed.then(() => client.socket.destroy());
    while (!client.socket.destroyed) {
      client.socket.write(dribble);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.match(String(await client.closed), /frames that carry nothing/);
  });
});

describe("a correct client is not taken for a flood", () => {
  test("that cancels as many calls as a kubelet on an overloaded node", async () => {
    await using client = await RawClient.open();
    client.greet(many((i) => Buffer.concat([requestFrame(2 * i + 1), cancel(2 * i + 1)]), 1500));
    await client.settled();
    assert.equal(client.streams.length, 1500);
  });

  test("that sends PING and WINDOW_UPDATE for each of 50,000 answers", async () => {
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.write(eight);
      stream.end(endBlock);
    });
    client.greet();
    for (let id = 1; id < 100_000; id += 200) {
      client.send(
        many((i) => {
          const streamId = id + 2 * i;
          const update = rawFrame(frameType.windowUpdate, 0, 0, number32(8));
          return Buffer.concat([
            requestFrame(streamId, true),
            rawFrame(frameType.ping, 0, 0, eight),
            update,
          ]);
        }, 100),
      );
      await client.body(id + 198);
    }
    await client.settled();
    assert.equal(client.streams.length, 50_000);
  });
});

describe("memory", () => {
  test("for the headers of open streams is limited, and free when they end", async () => {
    await using client = await RawClient.open();
    const fields = [...requestFields, ["x", "y".repeat(15_000)]] as const;
    const most = Math.floor(limits.maxOpenHeaders / 15_000);
    client.greet(many((i) => requestFrame(2 * i + 1, false, fields), most));
    client.send(requestFrame(2 * most + 1, false, fields));
    assert.ok((await client.next(frameType.rstStream)).streamId > 2 * (most - 2));
    client.send(cancel(1), cancel(3), requestFrame(2 * most + 3, false, fields));
    await client.settled();
    assert.equal(client.streams.at(-1)?.stream.id, 2 * most + 3);
  });

  test("for a client that reads nothing is what the messages take, and not more for its requests", async () => {
    const memory = new SharedMemory();
    const message = Buffer.alloc(1024 * 1024);
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.write(message);
      stream.end(endBlock);
    }, memory);
    client.socket.pause();
    client.greet(settingFrame(setting.initialWindowSize, 2 ** 31 - 1));
    client.send(rawFrame(frameType.windowUpdate, 0, 0, number32(2 ** 31 - 1 - 65_535)));
    // Beyond the limit of unsent bytes streams are refused; then the connection is closed.
    client.send(many((i) => requestFrame(2 * i + 1, true), 1000));
    assert.match(String(await client.closed), /streams beyond the limits/);
    assert.ok(client.streams.length <= limits.maxUnsentBytes / message.length + 2);
    assert.equal(memory.unsentBytes, 0);
  });

  test("for replies that a client does not read is bounded", async () => {
    await using client = await RawClient.open((stream) => {
      stream.respond(okBlock);
      stream.write(Buffer.alloc(4 * 1024 * 1024));
      stream.end(endBlock);
    });
    client.socket.pause();
    client.greet(settingFrame(setting.initialWindowSize, 2 ** 31 - 1));
    client.send(rawFrame(frameType.windowUpdate, 0, 0, number32(2 ** 31 - 1 - 65_535)));
    client.send(requestFrame(1, true));
    // Until the socket is full.
    for (let before = 0, left = 0; left === 0 || before !== left; ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      before = left;
      left = client.streams[0]?.stream.unsentBytes ?? 0;
    }
    // Each of these is answered with 17 bytes.
    client.send(many(() => rawFrame(frameType.ping, 0, 0, eight), 9000));
    assert.match(String(await client.closed), /does not read replies/);
  });

  test("for requests that no handler reads is limited for all connections", async () => {
    const memory = new SharedMemory();
    memory.unreadBytes = limits.maxTotalUnreadBytes - 100_000;
    await using client = await RawClient.open((stream) => stream.pause(), memory);
    client.greet(
      requestFrame(1),
      ...Array.from({ length: 7 }, () => dataFrame(1, Buffer.alloc(16_384))),
    );
    assert.equal(await client.resetCode(1), enhanceYourCalm);
    await client.settled();
    assert.equal(memory.unreadBytes, limits.maxTotalUnreadBytes - 100_000);
  });

  test("for requests that no handler reads is limited on a connection, which then waits", async () => {
    const memory = new SharedMemory();
    await using client = await RawClient.open((stream) => stream.pause(), memory);
    client.greet();
    const megabyte = Array.from({ length: 64 }, (_) => Buffer.alloc(16_384));
    const most = limits.maxUnreadBytes + limits.connectionWindowBytes;
    let id = 1;
    for (let sent = 0; sent < most; sent += 64 * 16_384) {
      client.send(requestFrame(id), ...megabyte.map((data) => dataFrame(id, data)));
      await client.settled();
      id += 2;
    }
    assert.ok(memory.unreadBytes <= most);
    // The window is used up: one byte more is an error of the client.
    client.send(
      requestFrame(id),
      dataFrame(id, Buffer.alloc(16_384)),
      ...megabyte.map((data) => dataFrame(id, data)),
    );
    assert.equal(await client.goAwayCode(), errorCode.flowControlError);
    assert.equal(memory.unreadBytes, 0);
  });

  test("of a paused stream does not hold the chunks of small frames", async () => {
    await using client = await RawClient.open((stream) => stream.pause());
    client.greet(requestFrame(1));
    // A byte of data in each 8 KiB of frames that carry nothing.
    const filler = rawFrame(99, 0, 0, Buffer.alloc(8192));
    const before = await heldBytes();
    for (let i = 0; i < 4000; i++) {
      if (!client.socket.write(Buffer.concat([filler, dataFrame(1, Buffer.from([1]))]))) {
        await once(client.socket, "drain");
      }
    }
    await client.settled();
    const grown = (await heldBytes()) - before;
    assert.ok(grown < 24 * 1024 * 1024, `${grown} bytes for 4000 bytes of data`);
    client.streams[0]?.stream.resume();
    assert.equal(Buffer.concat(client.streams[0]?.received ?? []).length, 4000);
  });
});
