import assert from "node:assert/strict";
import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { deflateSync } from "node:zlib";

import { dictionary } from "./dictionary.ts";
import {
  dataHead,
  flagFin,
  frameType,
  goAwayFrame,
  maxControlBytes,
  pingFrame,
  resetFrame,
  settingsFrame,
  synStreamFrame,
  windowUpdateFrame,
} from "./frames.ts";
import { HeaderWriter } from "./headers.ts";
import { SpdySession, type SpdySessionOptions } from "./session.ts";
import type { SpdyStream } from "./stream.ts";
import { hex } from "./testing/hex.ts";

/** A session, and the bytes on the other end of its connection. */
function half(options: Partial<SpdySessionOptions> = {}): {
  session: SpdySession;
  peer: Duplex;
  streams: SpdyStream[];
} {
  const [transport, peer] = duplexPair();
  const streams: SpdyStream[] = [];
  const session = new SpdySession({
    transport,
    role: "server",
    lingerMs: 0,
    onStream: (stream) => streams.push(stream),
    ...options,
  });
  return { session, peer, streams };
}

/** Two connected sessions. */
function whole(options: Partial<SpdySessionOptions> = {}): {
  client: SpdySession;
  server: SpdySession;
  accepted: () => Promise<SpdyStream>;
} {
  const [ours, theirs] = duplexPair();
  const queue: SpdyStream[] = [];
  const waiting: ((stream: SpdyStream) => void)[] = [];
  const server = new SpdySession({
    transport: ours,
    role: "server",
    onStream: (stream) => {
      const next = waiting.shift();
      if (next === undefined) queue.push(stream);
      else next(stream);
    },
    ...options,
  });
  const client = new SpdySession({ transport: theirs, role: "client" });
  const accepted = (): Promise<SpdyStream> => {
    const ready = queue.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    return new Promise((resolve) => waiting.push(resolve));
  };
  return { client, server, accepted };
}

const headers = (type: string): ReadonlyMap<string, string> => new Map([["streamtype", type]]);

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("SpdySession carries streams both ways, each with an end of its own", async () => {
  const { client, server, accepted } = whole();
  const ours = await client.openStream(headers("data"));
  const theirs = await accepted();
  assert.equal(theirs.headers.get("streamtype"), "data");
  ours.end("question");
  assert.equal(await text(theirs), "question");
  // The other direction continues after the end of the first.
  theirs.write("ans");
  theirs.end("wer");
  assert.equal(await text(ours), "answer");
  await settled();
  assert.equal(client.streamCount, 0);
  assert.equal(server.streamCount, 0);
  client.end();
  assert.equal(await server.closed, undefined);
  assert.equal(await client.closed, undefined);
});

test("SpdySession: the reset of one stream leaves the others alone", async () => {
  const { client, accepted } = whole();
  const a = await client.openStream(headers("a"));
  const b = await client.openStream(headers("b"));
  const [atA, atB] = [await accepted(), await accepted()];
  a.destroy();
  await assert.rejects(text(atA), /the peer reset it/);
  b.end("still here");
  assert.equal(await text(atB), "still here");
  client.destroy();
});

test("SpdySession: data that arrived before a reset can be read after it", async () => {
  const { client, accepted } = whole();
  const stream = await client.openStream(headers("stdout"));
  const server = await accepted();
  server.end("to its end");
  await once(server, "finish");
  server.destroy();
  await settled();
  assert.equal(client.streamCount, 0, "the reset has come");
  assert.equal(await text(stream), "to its end");
});

test("SpdySession.end() resets none of the streams that it has ended", async () => {
  const { session, peer, streams } = half();
  const sent: Buffer[] = [];
  peer.on("data", (chunk: Buffer) => sent.push(chunk));
  peer.write(synStreamFrame(1, new HeaderWriter().write(headers("stdout"))));
  await settled();
  const [stream] = streams;
  assert.ok(stream !== undefined);
  stream.end("all");
  await once(stream, "finish");
  // The client has not ended its half, as is normal for an output stream.
  session.end();
  await settled();
  assert.ok(stream.destroyed);
  const all = Buffer.concat(sent);
  assert.ok(all.includes(goAwayFrame(1, 0)));
  assert.equal(all.includes(resetFrame(1, 5)), false);
});

test("SpdySession buffers a bounded amount for a slow reader, and loses nothing", async () => {
  const { client, server, accepted } = whole();
  const ours = await client.openStream(headers("data"));
  const theirs = await accepted();
  const block = Buffer.alloc(64 * 1024, 7);
  let taken = 0;
  while (ours.write(block)) taken += block.length;
  for (let turn = 0; turn < 100; turn++) {
    await settled();
    if (ours.writableNeedDrain) continue;
    taken += block.length;
    ours.write(block);
  }
  assert.ok(server.unreadBytes <= 256 * 1024, `${server.unreadBytes} bytes held`);
  assert.ok(taken <= 1024 * 1024, `${taken} bytes taken`);
  ours.end();
  const all = await buffer(theirs);
  assert.equal(all.length, taken + block.length);
  client.destroy();
});

test("SpdySession stops reading from a peer without flow control, and continues when its data was read", async () => {
  const { session, peer, streams } = half({ maxUnreadBytes: 100_000 });
  const writer = new HeaderWriter();
  peer.write(synStreamFrame(1, writer.write(headers("data"))));
  const block = Buffer.alloc(50_000, 1);
  let sent = 0;
  for (let turn = 0; turn < 50; turn++) {
    if (!peer.writableNeedDrain) {
      peer.write(Buffer.concat([dataHead(1, block.length, false), block]));
      sent += block.length;
    }
    await settled();
  }
  assert.ok(session.unreadBytes <= 200_000, `${session.unreadBytes} bytes held`);
  assert.ok(sent < 2_000_000);
  peer.write(dataHead(1, 0, true));
  const [stream] = streams;
  assert.ok(stream);
  assert.equal((await buffer(stream)).length, sent);
  session.destroy();
});

test("SpdySession: a slow peer stops the writers", async () => {
  const { session, peer, streams } = half();
  peer.pause();
  peer.write(synStreamFrame(1, new HeaderWriter().write(headers("data"))));
  await settled();
  const [stream] = streams;
  assert.ok(stream);
  let accepted = 0;
  for (let turn = 0; turn < 200; turn++) {
    if (!stream.writableNeedDrain) {
      stream.write(Buffer.alloc(64 * 1024));
      accepted += 64 * 1024;
    }
    await settled();
  }
  assert.ok(accepted <= 512 * 1024, `${accepted} bytes taken from the writer`);
  session.destroy();
});

test("SpdySession.end() waits for a slow peer to read, and then for its end", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { session, peer, streams } = half({ lingerMs: 5_000 });
  peer.pause();
  peer.write(synStreamFrame(1, new HeaderWriter().write(headers("error"))));
  await settled();
  const [stream] = streams;
  assert.ok(stream);
  // More than the connection accepts for a peer that does not read.
  for (const said of [Buffer.alloc(40_000), Buffer.alloc(40_000), "the status"]) {
    stream.write(said);
    await settled();
  }
  session.end();
  await settled();
  t.mock.timers.tick(60_000);
  await settled();
  const sent: Buffer[] = [];
  peer.on("data", (chunk: Buffer) => sent.push(chunk));
  peer.resume();
  let over = false;
  void session.closed.then(() => (over = true));
  for (let turn = 0; turn < 5; turn++) await settled();
  assert.ok(Buffer.concat(sent).includes("the status"));
  t.mock.timers.tick(5_000);
  for (let turn = 0; turn < 5; turn++) await settled();
  assert.ok(over);
});

test("SpdySession responds to pings, and refuses too many streams", async () => {
  const { session, peer } = half({ maxStreams: 1 });
  const writer = new HeaderWriter();
  const answers: Buffer[] = [];
  peer.on("data", (chunk: Buffer) => answers.push(chunk));
  peer.write(pingFrame(7));
  peer.write(synStreamFrame(1, writer.write(new Map())));
  peer.write(synStreamFrame(3, writer.write(new Map())));
  await settled();
  await settled();
  const all = Buffer.concat(answers).toString("hex");
  assert.ok(all.startsWith(pingFrame(7).toString("hex")));
  assert.ok(all.includes(resetFrame(3, 3).toString("hex")), "refused");
  session.destroy();
});

test("SpdySession closes the connection after a protocol violation", async (t) => {
  const block = new HeaderWriter().write(new Map());
  const bad: Readonly<Record<string, Buffer>> = {
    "another protocol": Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    "another version": hex("80020006 00000004 00000001"),
    "a huge control frame": hex("80030004 00ffffff"),
    "a frame larger than the limit": Buffer.concat([hex("80030001"), uint32(maxControlBytes + 1)]),
    "a stream of the other side": synStreamFrame(2, block),
    "stream 0": synStreamFrame(0, block),
    "a stream opened twice": Buffer.concat([
      synStreamFrame(1, block),
      synStreamFrame(1, hex("0000 00ffff")),
    ]),
    "a window of the connection that overflows": windowUpdateFrame(0, 0x7fffffff),
    "settings with a wrong count": hex("80030004 00000004 7fffffff"),
    "data of a stream that was not opened": Buffer.concat([dataHead(9, 1, false), hex("00")]),
    "a cut off reset": hex("80030003 00000004 00000001"),
    "a bomb": synStreamFrame(1, deflateSync(Buffer.alloc(10_000_000), { dictionary })),
  };
  for (const [what, bytes] of Object.entries(bad)) {
    await t.test(what, async () => {
      const { session, peer } = half();
      peer.resume();
      peer.write(bytes);
      const reason = await session.closed;
      assert.match(reason?.message ?? "", /SPDY/);
    });
  }
});

test("SpdySession: a window that overflows ends its stream only", async () => {
  const { session, peer, streams } = half();
  peer.resume();
  const writer = new HeaderWriter();
  peer.write(synStreamFrame(1, writer.write(new Map())));
  peer.write(synStreamFrame(3, writer.write(new Map())));
  peer.write(windowUpdateFrame(1, 0x7fffffff));
  await settled();
  await settled();
  assert.deepEqual(
    streams.map(({ destroyed }) => destroyed),
    [true, false],
  );
  assert.equal(session.streamCount, 1);
  session.destroy();
});

test("SpdySession: resets the stream of a peer that exceeds its window", async () => {
  const { session, peer, streams } = half();
  peer.resume();
  peer.write(settingsFrame(65536));
  peer.write(synStreamFrame(1, new HeaderWriter().write(new Map())));
  const much = Buffer.alloc(600_000);
  peer.write(Buffer.concat([dataHead(1, much.length, false), much]));
  await settled();
  await settled();
  assert.equal(streams[0]?.destroyed, true);
  session.destroy();
});

test("SpdySession disconnects a peer that does not read responses", async () => {
  const { session, peer } = half();
  const pings = Buffer.concat(Array.from({ length: 4096 }, () => pingFrame(1)));
  const reasons = session.closed;
  const state = { over: false };
  void reasons.then(() => (state.over = true));
  while (!state.over) {
    if (!peer.writableNeedDrain) peer.write(pings);
    await settled();
  }
  assert.match((await reasons)?.message ?? "", /does not read responses/);
});

test("SpdySession fails its streams when the connection is lost, after the data that arrived", async () => {
  const { session, peer, streams } = half();
  const writer = new HeaderWriter();
  peer.write(synStreamFrame(1, writer.write(new Map())));
  peer.write(synStreamFrame(3, writer.write(new Map())));
  for (const [id, flags] of [
    [1, true],
    [3, false],
  ] as const) {
    peer.write(Buffer.concat([dataHead(id, 5, flags), Buffer.from("hello")]));
  }
  await settled();
  peer.destroy();
  await session.closed;
  const [whole, cut] = streams;
  assert.ok(whole && cut);
  assert.equal(await text(whole), "hello");
  await assert.rejects(text(cut), /connection is closed/);
});

test("SpdySession ends after GOAWAY of the peer and the end of the last stream", async () => {
  const { session, peer, streams } = half();
  peer.resume();
  peer.write(synStreamFrame(1, new HeaderWriter().write(new Map())));
  peer.write(goAwayFrame(0, 0));
  await settled();
  const [stream] = streams;
  assert.ok(stream);
  stream.resume();
  stream.end("bye");
  peer.write(dataHead(1, 0, true));
  await once(peer, "end");
  peer.end();
  await session.closed;
});

test("SpdySession.openStream() rejects when refused and when the connection is lost", async () => {
  const { client, server } = whole({ maxStreams: 0 });
  await assert.rejects(client.openStream(new Map()), /the peer reset it \(status 3\)/);
  server.destroy();
  await client.closed;
  await assert.rejects(client.openStream(new Map()), /connection is closed/);
});

test("SpdySession: SYN_STREAM with FIN has nothing to read", async () => {
  const { session, peer, streams } = half();
  peer.resume();
  const frame = synStreamFrame(1, new HeaderWriter().write(new Map()));
  frame.writeUInt8(flagFin, 4);
  assert.equal(frame.readUInt16BE(2), frameType.synStream);
  peer.write(frame);
  await settled();
  const [stream] = streams;
  assert.ok(stream);
  assert.equal(await text(stream), "");
  session.destroy();
});

test("SpdySession carries 64 MiB with flow control and loses nothing", async () => {
  const { client, accepted } = whole();
  const ours = await client.openStream(new Map());
  const theirs = await accepted();
  const echo = pipeline(theirs, theirs);
  const block = Buffer.alloc(1024 * 1024, 3);
  const sending = pipeline(function* () {
    for (let i = 0; i < 64; i++) yield block;
  }, ours);
  const back = await buffer(ours);
  await Promise.all([sending, echo]);
  assert.equal(back.length, 64 * block.length);
  client.destroy();
});

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
