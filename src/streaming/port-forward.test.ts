import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { describe, test } from "node:test";
import { dial, dialWebSocket } from "../client/streaming/dial.ts";
import { openPortForward, type PortForward } from "../client/streaming/index.ts";
import { channelProtocols, Channels } from "../wire/remote-command/channels.ts";
import { SpdySession } from "../wire/spdy/session.ts";
import type { SpdyStream } from "../wire/spdy/stream.ts";
import { openServer } from "./testing/open-server.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A program in the pod, which handles each connection. */
async function listen(
  serve: (socket: Socket) => void,
): Promise<{ port: number; server: Server } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    port: address.port,
    server,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

for (const transport of ["spdy", "websocket"] as const) {
  describe(`port-forward by ${transport}`, () => {
    const open = (url: string): Promise<PortForward> => openPortForward(url, { transport });

    test("carries many connections to many ports, whose directions end separately", async () => {
      await using opened = await openServer();
      // Responds only after the end of its input, which needs half-close.
      await using first = await listen((socket) => {
        void text(socket).then((asked) => socket.end(`first:${asked}`));
      });
      await using second = await listen((socket) => {
        void text(socket).then((asked) => socket.end(`second:${asked}`));
      });
      const forward = await open(opened.server.portForward("s", []));
      const asked = Array.from({ length: 20 }, async (_, index) => {
        const target = index % 2 === 0 ? first : second;
        const { data, failure } = await forward.connect(target.port);
        data.end(String(index));
        const answer = await text(data);
        assert.equal(answer, `${index % 2 === 0 ? "first" : "second"}:${index}`);
        assert.equal(await failure, undefined);
      });
      await Promise.all(asked);
      forward.close();
      await forward.closed;
    });

    test("reports why a port has no connection, and continues with others", async () => {
      await using opened = await openServer();
      const gone = await listen(() => undefined);
      const { port } = gone;
      await gone[Symbol.asyncDispose]();
      await using echo = await listen((socket) => void socket.pipe(socket));
      const forward = await open(opened.server.portForward("s", []));
      const refused = await forward.connect(port);
      assert.equal(await refused.failure, `connect to port ${port} of "s": refused`);
      assert.equal(await text(refused.data), "");
      const { data } = await forward.connect(echo.port);
      data.end("on");
      assert.equal(await text(data), "on");
      forward.close();
    });

    test("the reset of a connection by either side does not affect others", async () => {
      await using opened = await openServer();
      await using resetting = await listen((socket) => void socket.resetAndDestroy());
      const closed = Promise.withResolvers<undefined>();
      await using echo = await listen((socket) => {
        socket.on("close", () => closed.resolve(undefined));
        socket.pipe(socket);
      });
      const forward = await open(opened.server.portForward("s", []));
      const kept = await forward.connect(echo.port);
      kept.data.write("a");
      await once(kept.data, "readable");
      const byPod = await forward.connect(resetting.port);
      await buffer(byPod.data).catch(() => undefined);
      const byClient = await forward.connect(echo.port);
      byClient.data.write("x");
      await once(byClient.data, "readable");
      byClient.data.destroy();
      await closed.promise;
      kept.data.end("b");
      assert.equal(await text(kept.data), "ab");
      forward.close();
    });

    test("the connections of a client end when it disconnects", async () => {
      await using opened = await openServer();
      const closed = Promise.withResolvers<undefined>();
      await using echo = await listen((socket) => {
        socket.on("close", () => closed.resolve(undefined));
        socket.pipe(socket);
      });
      const forward = await open(opened.server.portForward("s", []));
      const { data } = await forward.connect(echo.port);
      data.write("x");
      await once(data, "readable");
      forward.close();
      await closed.promise;
    });

    test("loses nothing of 32 MiB in both directions", async () => {
      await using opened = await openServer();
      await using echo = await listen((socket) => void socket.pipe(socket));
      const forward = await open(opened.server.portForward("s", []));
      const { data } = await forward.connect(echo.port);
      const block = Buffer.alloc(32 * 1024 * 1024, "0123456789abcdef!");
      data.end(block);
      assert.ok((await buffer(data)).equals(block));
      forward.close();
    });
  });
}

test("port-forward by channels: each port has two, which begin with its number", async () => {
  for (const name of ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"]) {
    for (const named of [true, false]) {
      await using opened = await openServer();
      await using echo = await listen((socket) => {
        socket.once("data", (chunk) => socket.end(`echo:${chunk.toString()}`));
      });
      const gone = await listen(() => undefined);
      await gone[Symbol.asyncDispose]();
      const ports = [echo.port, gone.port];
      const url = opened.server.portForward("s", named ? ports : []);
      const query = named ? "" : `?port=${echo.port}&port=${gone.port}`;
      const { transport, protocol } = await dialWebSocket(`${url}${query}`, [name]);
      assert.equal(protocol, name);
      const spoken = channelProtocols.get(name);
      assert.ok(spoken);
      const channels = new Channels(transport, "client", spoken);
      const streams = [0, 1, 2, 3].map((channel) => channels.open(channel));
      streams[0]?.write("hi");
      const said = await Promise.all(streams.map((stream) => buffer(stream)));
      for (const [index, bytes] of said.entries()) {
        assert.equal(bytes.readUInt16LE(0), ports[index >> 1]);
      }
      const texts = said.map((bytes) => bytes.toString("utf8", 2));
      assert.deepEqual(texts, ["echo:hi", "", "", `connect to port ${gone.port} of "s": refused`]);
      assert.equal(await channels.connection.closed, undefined);
    }
  }
});

test("port-forward by channels: a port that has ended does not block the others", async () => {
  await using opened = await openServer();
  await using brief = await listen((socket) => socket.end());
  await using echo = await listen((socket) => void socket.pipe(socket));
  const url = opened.server.portForward("s", [brief.port, echo.port]);
  const { transport } = await dialWebSocket(url, ["v4.channel.k8s.io"]);
  const channels = new Channels(transport, "client", {
    base64: false,
    closeSignal: false,
    status: true,
  });
  const [ended, errors, other] = [0, 1, 2].map((channel) => channels.open(channel));
  assert.ok(ended && errors && other);
  errors.resume();
  const [target] = await Promise.all([first(opened.targets.connected), once(other, "readable")]);
  ended.resume();
  if (!target.destroyed) await once(target, "close");
  other.read();
  // More than the connection and the kernel buffer.
  await new Promise((resolve) => ended.write(Buffer.alloc(32 * 1024 * 1024), resolve));
  other.write("x");
  const [answer] = (await once(other, "data")) as [Buffer];
  assert.equal(answer.toString(), "x");
  channels.connection.destroy();
});

/** The first connection. */
async function first(connected: readonly Duplex[]): Promise<Duplex> {
  for (;;) {
    const [target] = connected;
    if (target !== undefined) return target;
    await settled();
  }
}

test("port-forward over SPDY: a stream that is reset before its other half was opened is forgotten", async () => {
  await using opened = await openServer();
  await using echo = await listen((socket) => void socket.pipe(socket));
  const { transport } = await dial(opened.server.portForward("s", []), {
    method: "POST",
    headers: { upgrade: "SPDY/3.1" },
  });
  const session = new SpdySession({ transport, role: "client" });
  const open = (streamtype: string, requestid: string): Promise<SpdyStream> =>
    session.openStream(new Map(Object.entries({ streamtype, port: String(echo.port), requestid })));
  (await open("data", "a")).destroy();
  // When "b" has its response, "a" was handled, too.
  for (const id of ["b", "a"]) {
    const [error, data] = [await open("error", id), await open("data", id)];
    error.resume();
    data.end("hi");
    assert.equal(await text(data), "hi");
  }
  session.destroy();
});

test("port-forward: a pod that reads nothing does not keep a connection whose client has disconnected", async (t) => {
  await using opened = await openServer();
  await using stuck = await listen((socket) => socket.pause());
  const forward = await openPortForward(opened.server.portForward("s", []));
  const { data } = await forward.connect(stuck.port);
  const target = await first(opened.targets.connected);
  const block = Buffer.alloc(256 * 1024);
  // Until the kernel's buffers are full and the same amount is queued here.
  for (let behind = 0; behind < 100; behind = target.writableNeedDrain ? behind + 1 : 0) {
    if (!data.writableNeedDrain) data.write(block);
    await settled();
  }
  t.mock.timers.enable({ apis: ["setTimeout"] });
  forward.close();
  await forward.closed;
  for (let turn = 0; turn < 1000 && !target.destroyed; turn++) {
    t.mock.timers.tick(1_000);
    await settled();
  }
  assert.ok(target.destroyed);
});

test("port-forward by channels rejects invalid ports", async () => {
  await using opened = await openServer();
  for (const query of ["", "?port=", "?port=0", "?port=65536", "?port=80,x"]) {
    const url = `${opened.server.portForward("s", [])}${query}`;
    await assert.rejects(dialWebSocket(url, ["v4.channel.k8s.io"]), /responded with 400: .*ports/);
  }
});
