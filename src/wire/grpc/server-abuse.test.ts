// A broken or hostile client affects only its own connection to a GrpcServer.
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect, constants } from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { describe, test } from "node:test";
import type { Method } from "./call.ts";
import { GrpcClient } from "./client.ts";
import { frame } from "./codec.ts";
import { echo, echoPath, type Serving, serve, testMessageLimit } from "./testing/serving.ts";

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const frameTypes = { data: 0, headers: 1, rst: 3, settings: 4, ping: 6, continuation: 9 } as const;
const endHeaders = 4;

/** An HTTP/2 frame, RFC 9113 section 4.1. */
function http2Frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

const greeting = Buffer.concat([preface, http2Frame(frameTypes.settings, 0, 0, Buffer.alloc(0))]);

/** HPACK for the headers of a gRPC request, all as literals that are not indexed (RFC 7541, 6.2.2). */
function requestHeaders(more: Readonly<Record<string, string>> = {}): Buffer {
  const headers = {
    ":method": "POST",
    ":scheme": "http",
    ":path": echoPath("Echo"),
    ":authority": "localhost",
    "content-type": "application/grpc",
    ...more,
  };
  return Buffer.concat(
    Object.entries(headers).map(([name, value]) =>
      Buffer.concat([Buffer.from([0]), hpackString(name), hpackString(value)]),
    ),
  );
}

function hpackString(text: string): Buffer {
  assert.ok(text.length < 127);
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
}

function open(serving: Serving): { readonly socket: Socket; readonly closed: Promise<unknown> } {
  const socket = connectSocket(serving.path);
  socket.on("error", () => undefined);
  socket.resume();
  return { socket, closed: new Promise((resolve) => socket.once("close", resolve)) };
}

interface Opened {
  readonly socket: Socket;
  /** Resolves when the server has closed the connection. */
  readonly ended: Promise<unknown>;
}

/** One after the other, because a connect fails while the queue of listen(2) is full. */
async function openMany(serving: Serving, count: number, first: Buffer): Promise<Opened[]> {
  const opened: Opened[] = [];
  while (opened.length < count) {
    // This side does not close its end when the server has closed its end.
    const socket = connectSocket({ path: serving.path, allowHalfOpen: true });
    socket.on("error", () => undefined);
    const ended = new Promise((resolve) => {
      socket.once("end", resolve);
      socket.once("close", resolve);
    });
    socket.resume();
    await once(socket, "connect");
    if (first.length > 0) socket.write(first);
    opened.push({ socket, ended });
  }
  return opened;
}

async function assertServes(serving: Serving): Promise<void> {
  using client = new GrpcClient({ path: serving.path });
  const answer = await client.unary(echoPath("Echo"), Buffer.from("still here"));
  assert.equal(Buffer.from(answer).toString(), "still here");
}

/** Writes until the server closes the connection. */
async function writeUntilClosed(serving: Serving, bytes: Buffer): Promise<void> {
  const { socket, closed } = open(serving);
  socket.write(greeting);
  while (!socket.destroyed) {
    socket.write(bytes);
    // The server runs in this process and needs a turn of the event loop. Like a hostile client,
    // this one does not wait for "drain".
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
}

const callHeaders = {
  ":method": "POST",
  ":path": echoPath("Echo"),
  "content-type": "application/grpc",
};

/** A successful call on an existing connection. */
async function callOn(session: ClientHttp2Session): Promise<void> {
  const stream = session.request(callHeaders);
  stream.resume();
  stream.end(frame(Buffer.alloc(1)));
  const [trailers] = (await once(stream, "trailers")) as [Record<string, unknown>];
  assert.equal(trailers["grpc-status"], "0");
}

describe("GrpcServer under abuse", () => {
  test("closes a connection with invalid data, and only that one", async () => {
    await using serving = await serve({ Echo: echo });
    for (const garbage of ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\0".repeat(100), "x".repeat(99)]) {
      const { socket, closed } = open(serving);
      socket.write(garbage);
      await closed;
    }
    const framed = open(serving);
    framed.socket.write(Buffer.concat([greeting, Buffer.alloc(5000, 0xff)]));
    await framed.closed;
    await assertServes(serving);
  });

  test("disconnects a client that never completes its preface", async () => {
    await using serving = await serve({ Echo: echo }, { prefaceTimeoutMs: 30 });
    for (const start of [Buffer.alloc(0), preface.subarray(0, 9), preface]) {
      const { socket, closed } = open(serving);
      socket.write(start);
      await closed;
    }
    await assertServes(serving);
    assert.ok(serving.server.connections <= 1);
  });

  test("closes the oldest of many silent connections, and serves one that speaks HTTP/2", async () => {
    await using serving = await serve({ Echo: echo });
    const silent = await openMany(serving, 1500, Buffer.alloc(0));
    await assertServes(serving);
    // There are more silent connections than the limit.
    await Promise.all(silent.slice(0, 400).map(({ ended }) => ended));
    await assertServes(serving);
    assert.ok(serving.server.connections >= 1000, "only as many go as must");
    for (const { socket } of silent) socket.destroy();
  });

  test("closes connections without a call when there are too many, and none that has called", async () => {
    await using serving = await serve({ Echo: echo });
    const idle = connect("http://localhost", {
      createConnection: () => connectSocket(serving.path),
    });
    await callOn(idle);
    const never = await openMany(serving, 700, greeting);
    await Promise.all(never.slice(0, 180).map(({ ended }) => ended));
    await assertServes(serving);
    // On the same connection, which was idle for longer than the closed ones.
    await callOn(idle);
    for (const { socket } of never) socket.destroy();
    idle.destroy();
  });

  test("handles connections that end at any byte of a request", async () => {
    await using serving = await serve({ Echo: echo });
    const request = Buffer.concat([
      greeting,
      http2Frame(frameTypes.headers, endHeaders, 1, requestHeaders()),
      http2Frame(frameTypes.data, 1, 1, frame(Buffer.from("hello"))),
    ]);
    for (let end = 0; end < request.length; end += 3) {
      const { socket, closed } = open(serving);
      socket.end(request.subarray(0, end));
      await closed;
    }
    await assertServes(serving);
  });

  test("resets a call with too many or too long headers, and keeps the connection", async () => {
    await using serving = await serve({ Echo: echo });
    const session = connect("http://localhost", {
      createConnection: () => connectSocket(serving.path),
      maxSendHeaderBlockLength: 1_000_000,
    });
    const many = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`x-${i}`, "1"]));
    for (const bomb of [many, { "x-long": "x".repeat(60_000) }]) {
      const stream = session.request({ ...callHeaders, ...bomb });
      const error: unknown[] = await once(stream, "error");
      assert.match(String(error[0]), /NGHTTP2_ENHANCE_YOUR_CALM/);
    }
    await callOn(session);
    session.destroy();
  });

  test("closes a connection that floods", async () => {
    await using serving = await serve({ Echo: echo });
    const headers = http2Frame(frameTypes.headers, 0, 1, requestHeaders());
    const more = http2Frame(frameTypes.continuation, 0, 1, requestHeaders({ "x-more": "1" }));
    const resets = Array.from({ length: 5000 }, (_, i) =>
      Buffer.concat([
        http2Frame(frameTypes.headers, endHeaders, 2 * i + 1, requestHeaders()),
        http2Frame(frameTypes.rst, 0, 2 * i + 1, Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL])),
      ]),
    );
    // Endless headers; rapid reset; frames on streams that were never opened.
    await writeUntilClosed(serving, Buffer.concat([headers, ...Array<Buffer>(100).fill(more)]));
    await writeUntilClosed(serving, Buffer.concat(resets));
    await writeUntilClosed(serving, http2Frame(frameTypes.data, 0, 99, Buffer.alloc(10)));
    await assertServes(serving);
  });

  test("buffers a message that arrives in frames of one byte, but not the frames", async () => {
    await using serving = await serve({ Echo: echo });
    const { socket, closed } = open(serving);
    const head = http2Frame(frameTypes.headers, endHeaders, 1, requestHeaders());
    const prefix = frame(Buffer.alloc(testMessageLimit)).subarray(0, 5);
    socket.write(Buffer.concat([greeting, head, http2Frame(frameTypes.data, 0, 1, prefix)]));
    const oneByte = http2Frame(frameTypes.data, 0, 1, Buffer.alloc(1));
    const burst = Buffer.concat(Array<Buffer>(4096).fill(oneByte));
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 256; i++) {
      if (!socket.write(burst)) await once(socket, "drain");
    }
    const grown = process.memoryUsage().rss - before;
    assert.ok(grown < 100 * 1024 * 1024, `${grown} bytes for a message of 1 MiB`);
    socket.destroy();
    await closed;
    await assertServes(serving);
  });

  test("responds to pings and settings of a client that does not read, up to a limit", async () => {
    await using serving = await serve({ Echo: echo });
    const { socket, closed } = open(serving);
    socket.pause();
    socket.write(greeting);
    const ping = http2Frame(frameTypes.ping, 0, 0, Buffer.alloc(8));
    const settings = http2Frame(frameTypes.settings, 0, 0, Buffer.alloc(0));
    const burst = Buffer.concat(Array<Buffer>(2000).fill(Buffer.concat([ping, settings])));
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 50 && !socket.destroyed; i++) {
      socket.write(burst);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024);
    await assertServes(serving);
    socket.destroy();
    await closed;
  });

  test("serves others while clients leave more responses unread than all may", async () => {
    // The same bytes for all: what is counted is what waits.
    const big = Buffer.alloc(testMessageLimit);
    const Big: Method = { kind: "unary", handle: () => Promise.resolve(big) };
    await using serving = await serve({ Echo: echo, Big });
    const headers = requestHeaders({ ":path": echoPath("Big") });
    const calls = Array.from({ length: 9 }, (_, i) =>
      Buffer.concat([
        http2Frame(frameTypes.headers, endHeaders, 2 * i + 1, headers),
        http2Frame(frameTypes.data, 1, 2 * i + 1, frame(Buffer.alloc(1))),
      ]),
    );
    const peers = await openMany(serving, 5, Buffer.concat([greeting, ...calls]));
    // 9 responses for each are 720 MiB.
    await Promise.race(peers.map(({ ended }) => ended));
    await assertServes(serving);
    assert.ok(serving.server.connections >= 3, "no more are closed than must be");
    for (const { socket } of peers) socket.destroy();
  });
});
