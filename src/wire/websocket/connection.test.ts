import assert from "node:assert/strict";
import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { test } from "node:test";
import { WebSocketConnection, type WebSocketOptions } from "./connection.ts";
import { frameParts, type MessagePiece, opcode } from "./frames.ts";
import { acceptKey, makeKey, refusalOf } from "./handshake.ts";

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ""), "hex");
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A masked frame, whose mask is 0. */
function masked(first: number, payload: Buffer | string): Buffer {
  const bytes = Buffer.from(payload);
  const length =
    bytes.length < 126 ? [bytes.length] : [126, bytes.length >> 8, bytes.length & 0xff];
  length[0] = (length[0] ?? 0) | 0x80;
  return Buffer.concat([Buffer.from([first, ...length, 0, 0, 0, 0]), bytes]);
}

interface Opened {
  readonly connection: WebSocketConnection;
  readonly peer: Duplex;
  readonly pieces: MessagePiece[];
  /** All bytes that the connection has sent. */
  readonly sent: () => Buffer;
}

function open(options: Partial<WebSocketOptions> = {}): Opened {
  const [transport, peer] = duplexPair();
  const pieces: MessagePiece[] = [];
  const connection = new WebSocketConnection({
    transport,
    role: "server",
    lingerMs: 0,
    onMessage: (piece) => pieces.push(piece),
    ...options,
  });
  const sent: Buffer[] = [];
  peer.on("data", (chunk: Buffer) => sent.push(chunk));
  return { connection, peer, pieces, sent: () => Buffer.concat(sent) };
}

const joined = (pieces: readonly MessagePiece[]): string =>
  Buffer.concat(pieces.map(({ piece }) => piece)).toString();

test("acceptKey() gives the value of the RFC's example", () => {
  assert.equal(acceptKey("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const good = { "sec-websocket-version": "13", "sec-websocket-key": makeKey() };
  assert.equal(refusalOf(good), undefined);
  assert.match(refusalOf({ ...good, "sec-websocket-version": "8" }) ?? "", /must be 13/);
  assert.match(refusalOf({ ...good, "sec-websocket-key": "short" }) ?? "", /16 bytes/);
});

test("frames have the bytes of the RFC's examples", async () => {
  // RFC 6455, 5.7
  assert.deepEqual(
    Buffer.concat(frameParts(opcode.text, [Buffer.from("Hello")], false)),
    hex("8105 48656c6c6f"),
  );
  const long = Buffer.concat(frameParts(opcode.binary, [Buffer.alloc(256)], false));
  assert.deepEqual(long.subarray(0, 4), hex("827e 0100"));
  const longer = Buffer.concat(frameParts(opcode.binary, [Buffer.alloc(65536)], false));
  assert.deepEqual(longer.subarray(0, 10), hex("827f 0000000000010000"));
  const { peer, pieces } = open();
  peer.write(hex("8185 37fa213d 7f9f4d5158"));
  await settled();
  assert.equal(joined(pieces), "Hello");
});

test("frames are masked equally in pieces of any length and at any address", async () => {
  const text = Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 0xff));
  for (let pieceBytes = 60; pieceBytes < 140; pieceBytes += 3) {
    const { peer, pieces } = open();
    const sent = Buffer.concat(frameParts(opcode.binary, [text], true));
    const [mask, payload] = [sent.subarray(4, 8), sent.subarray(8)];
    for (const [i, byte] of payload.entries()) assert.equal(byte ^ (mask[i & 3] ?? 0), text[i]);
    for (let from = 0; from < sent.length; from += pieceBytes) {
      const place = Buffer.alloc(pieceBytes + 8);
      const length = sent.copy(place, from % 7, from, from + pieceBytes);
      peer.write(place.subarray(from % 7, (from % 7) + length));
    }
    await settled();
    assert.deepEqual(Buffer.concat(pieces.map(({ piece }) => piece)), text);
  }
});

test("WebSocketConnection receives a message in any pieces, with control frames in between", async () => {
  const { peer, pieces, sent } = open();
  const bytes = Buffer.concat([
    masked(0x01, "Hel"),
    masked(0x89, "ping"),
    masked(0x00, ""),
    masked(0x80, "lo"),
    masked(0x82, "bin"),
  ]);
  for (const byte of bytes) {
    peer.write(Buffer.from([byte]));
    await settled();
  }
  assert.equal(joined(pieces.filter(({ text }) => text)), "Hello");
  assert.equal(joined(pieces.filter(({ text }) => !text)), "bin");
  assert.deepEqual(
    pieces.filter(({ first }) => first).length,
    pieces.filter(({ last }) => last).length,
  );
  assert.deepEqual(sent(), Buffer.concat([hex("8a04"), Buffer.from("ping")]));
});

test("WebSocketConnection receives an empty message", async () => {
  const { peer, pieces } = open();
  peer.write(masked(0x82, ""));
  await settled();
  assert.equal(pieces.length, 1);
  assert.deepEqual([pieces[0]?.first, pieces[0]?.last], [true, true]);
});

test("WebSocketConnection closes with the code of the violation", async (t) => {
  const bad: Readonly<Record<string, readonly [Buffer, number]>> = {
    "a frame without a mask": [hex("8100"), 1002],
    "an extension": [masked(0xc1, "x"), 1002],
    "an unknown opcode": [masked(0x83, "x"), 1002],
    "an unknown control": [masked(0x8b, "x"), 1002],
    "a control in pieces": [masked(0x09, "x"), 1002],
    "a control too long": [masked(0x89, Buffer.alloc(126)), 1002],
    "a continuation of nothing": [masked(0x80, "x"), 1002],
    "a message inside another": [Buffer.concat([masked(0x01, "x"), masked(0x81, "y")]), 1002],
    "half a close code": [masked(0x88, "x"), 1002],
    "a message too long": [masked(0x82, Buffer.alloc(1001)), 1009],
    "a message too long in all": [
      Buffer.concat([masked(0x02, Buffer.alloc(600)), masked(0x80, Buffer.alloc(600))]),
      1009,
    ],
    "a length of 2^63 - 1": [hex("82ff 7fffffffffffffff 00000000"), 1009],
    "a length of 2^63": [hex("82ff 8000000000000000 00000000"), 1002],
    "a length of 2^64 - 1": [hex("82ff ffffffffffffffff 00000000"), 1002],
    "a length of 125 in two bytes": [hex("82fe 007d 00000000"), 1002],
    "a length of 65535 in eight bytes": [hex("82ff 000000000000ffff 00000000"), 1002],
  };
  for (const [what, [bytes, code]] of Object.entries(bad)) {
    await t.test(what, async () => {
      const { connection, peer, sent } = open({ maxMessageBytes: 1000 });
      peer.write(bytes);
      assert.ok((await connection.closed) instanceof Error);
      await settled();
      assert.deepEqual(sent(), Buffer.from([0x88, 2, code >> 8, code & 0xff]));
    });
  }
});

test("WebSocketConnection responds to a close frame, and distinguishes a normal one from others", async () => {
  const sound = open();
  sound.peer.write(masked(0x88, hex("03e8")));
  assert.equal(await sound.connection.closed, undefined);
  await settled();
  assert.deepEqual(sound.sent(), hex("8802 03e8"));
  const failed = open();
  failed.peer.write(masked(0x88, hex("03f3")));
  assert.match((await failed.connection.closed)?.message ?? "", /code 1011/);
  const cut = open();
  cut.peer.end();
  assert.match((await cut.connection.closed)?.message ?? "", /connection is closed/);
});

test("WebSocketConnection.close() sends its frame after all data", async () => {
  const { connection, sent } = open();
  connection.send("text", [Buffer.from("a"), Buffer.from("b")], () => undefined);
  connection.close();
  await settled();
  assert.deepEqual(sent(), hex("8102 6162 8802 03e8"));
});

test("WebSocketConnection disconnects a peer that does not read responses", async () => {
  const [transport, peer] = duplexPair();
  const connection = new WebSocketConnection({
    transport,
    role: "server",
    onMessage: () => undefined,
  });
  const state = { over: false };
  void connection.closed.then(() => (state.over = true));
  const pings = Buffer.concat(Array.from({ length: 1024 }, () => masked(0x89, Buffer.alloc(100))));
  while (!state.over) {
    if (!peer.writableNeedDrain) peer.write(pings);
    await settled();
  }
  assert.match((await connection.closed)?.message ?? "", /does not read responses/);
});

test("WebSocketConnection does not read while there is too much unread data", async () => {
  const { connection, peer } = open({
    maxUnreadBytes: 100_000,
    onMessage: ({ piece }) => connection.addUnread(piece.length),
  });
  let taken = 0;
  for (let turn = 0; turn < 100; turn++) {
    if (!peer.writableNeedDrain) {
      peer.write(masked(0x82, Buffer.alloc(30_000)));
      taken += 30_000;
    }
    await settled();
  }
  assert.ok(connection.unreadBytes <= 200_000, `${connection.unreadBytes} bytes held`);
  assert.ok(taken < 1_000_000, `${taken} bytes taken`);
  const held = connection.unreadBytes;
  connection.removeUnread(held);
  for (let turn = 0; turn < 10; turn++) await settled();
  assert.ok(connection.unreadBytes > 0, "it reads on");
  connection.destroy();
});

test("WebSocketConnection.close() waits for a slow peer", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { connection, peer, sent } = open({ lingerMs: 5_000 });
  peer.pause();
  // More than the connection accepts for a peer that does not read.
  connection.send("binary", [Buffer.alloc(100 * 1024)], () => undefined);
  connection.send("binary", [Buffer.from("the status")], () => undefined);
  connection.close();
  await settled();
  t.mock.timers.tick(60_000);
  await settled();
  peer.resume();
  await once(peer, "end");
  assert.ok(sent().includes("the status"));
  await settled();
  t.mock.timers.tick(5_000);
  await connection.closed;
});
