import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { isKind, messageOf } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { scratchDirectory } from "../grpc/testing/serving.ts";
import { TtrpcClient } from "./client.ts";
import { encodeFrame, frameType, maxDataBytes } from "./frame.ts";
import { Multiplexer } from "./multiplexer.ts";
import { encodeMessage, MultiplexerReader } from "./multiplexer-frames.ts";
import { TtrpcConnection, type TtrpcHandler } from "./server.ts";
import { seededRandom } from "./testing/random.ts";

/** The two ends of a connection over a unix socket, while `use` runs. */
async function withPair(use: (near: Socket, far: Socket) => Promise<void>): Promise<void> {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "m.sock");
  const server = createServer();
  server.listen(path);
  await once(server, "listening");
  const near = connect(path);
  const [far] = (await once(server, "connection")) as [Socket];
  for (const socket of [near, far]) socket.on("error", () => undefined);
  try {
    await use(near, far);
  } finally {
    near.destroy();
    far.destroy();
    server.close();
  }
}

const method = { service: "test.Echo", method: "Say" };
const echo: TtrpcHandler = { kind: "unary", handle: (request) => Promise.resolve(request) };
const log = silentLogger;
const serves = (handler: TtrpcHandler) => ({ methods: new Map([["test.Echo/Say", handler]]), log });

describe("Multiplexer", () => {
  it("carries calls in both directions at the same time", async () => {
    await withPair(async (near, far) => {
      const [here, there] = [new Multiplexer(near), new Multiplexer(far)];
      const upper: TtrpcHandler = {
        kind: "unary",
        handle: (request) => Promise.resolve(Buffer.from(String(request).toUpperCase())),
      };
      new TtrpcConnection(here.open(2), serves(echo));
      new TtrpcConnection(there.open(1), serves(upper));
      const toThere = new TtrpcClient(here.open(1), "there");
      const toHere = new TtrpcClient(there.open(2), "here");
      const calls = Array.from({ length: 100 }, async (_, at) => {
        const text = `a${at}`.repeat(1 + (at % 7) * 1000);
        const [large, same] = await Promise.all([
          toThere.unary(method, Buffer.from(text)),
          toHere.unary(method, Buffer.from(text)),
        ]);
        assert.ok(Buffer.from(large).equals(Buffer.from(text.toUpperCase())));
        assert.ok(Buffer.from(same).equals(Buffer.from(text)));
      });
      await Promise.all(calls);
    });
  });

  it("carries the largest message, and refuses a larger one", async () => {
    await withPair(async (near, far) => {
      const [here, there] = [new Multiplexer(near), new Multiplexer(far)];
      new TtrpcConnection(there.open(1), serves(echo));
      const client = new TtrpcClient(here.open(1), "there");
      const large = Buffer.alloc(maxDataBytes - 100, 7);
      assert.deepEqual(Buffer.from(await client.unary(method, large)), large);
      await assert.rejects(client.unary(method, Buffer.alloc(maxDataBytes)), (error) =>
        isKind(error, "resource-exhausted"),
      );
      assert.equal((await client.unary(method, Buffer.from("x"))).length, 1);
    });
  });

  it("ends all of its connections for what is not a frame, and no other multiplexer", async () => {
    await withPair(async (near, far) => {
      const here = new Multiplexer(near);
      const clients = [1, 2].map((id) => new TtrpcClient(here.open(id), `peer ${id}`));
      const call = assert.rejects(clients[0]?.unary(method, Buffer.from("x")) ?? Promise.resolve());
      far.write("GET / HTTP/1.1\r\n");
      for (const client of clients) {
        assert.match(messageOf(await client.closed), /malformed header 474554202f204854/);
      }
      await call;
      assert.equal(near.destroyed, true);
    });
  });

  it("drops data of connections that are not open", async () => {
    await withPair(async (near, far) => {
      const here = new Multiplexer(near);
      const client = new TtrpcClient(here.open(1), "peer");
      far.write(encodeMessage(7, Buffer.from("nobody reads this")));
      far.write(encodeMessage(0, Buffer.alloc(100_000)));
      const there = new Multiplexer(far);
      new TtrpcConnection(there.open(1), serves(echo));
      assert.equal(String(Buffer.from(await client.unary(method, Buffer.from("x")))), "x");
    });
  });

  it("ends its connections when the peer goes away, and when one is destroyed", async () => {
    await withPair(async (near, far) => {
      const here = new Multiplexer(near);
      const [one, two] = [
        new TtrpcClient(here.open(1), "one"),
        new TtrpcClient(here.open(2), "two"),
      ];
      far.destroy();
      assert.match(messageOf(await one.closed), /"one": the peer closed it/);
      await two.closed;
    });
    await withPair(async (near, far) => {
      const here = new Multiplexer(near);
      const [one, two] = [
        new TtrpcClient(here.open(1), "one"),
        new TtrpcClient(here.open(2), "two"),
      ];
      one.close();
      await two.closed;
      far.resume();
      await once(far, "close");
    });
  });
});

describe("the frames of the multiplexer", () => {
  it("are read the same for every split of the bytes", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = seededRandom(seed);
      const sent = Array.from({ length: 20 }, () => ({
        connection: random(4),
        data: Buffer.from(Uint8Array.from({ length: random(9000) }, () => random(256))),
      }));
      const bytes = Buffer.concat(
        sent.map(({ connection, data }) => encodeMessage(connection, data)),
      );
      const reader = new MultiplexerReader();
      const got = new Map<number, Buffer[]>();
      for (let at = 0; at < bytes.length; ) {
        const next = Math.min(bytes.length, at + 1 + random(5000));
        for (const { connection, data } of reader.push(bytes.subarray(at, next))) {
          got.set(connection, [...(got.get(connection) ?? []), Buffer.from(data)]);
        }
        at = next;
      }
      for (const id of [0, 1, 2, 3]) {
        const wanted = sent.filter(({ connection }) => connection === id);
        assert.deepEqual(
          Buffer.concat(got.get(id) ?? []),
          Buffer.concat(wanted.map(({ data }) => data)),
          `seed ${seed}`,
        );
      }
    }
  });

  it("have at most 4096 bytes where a message begins", () => {
    const message = encodeFrame(
      { streamId: 1, type: frameType.request, flags: 0 },
      Buffer.alloc(9000),
    );
    const bytes = encodeMessage(1, message);
    assert.equal(bytes.readUInt32BE(4), 4096);
    assert.equal(bytes.readUInt32BE(8 + 4096 + 4), message.length - 4096);
    assert.equal(bytes.length, message.length + 16);
  });
});
