// Differential tests with the HPACK of nghttp2, which is in node:http2: what its client sends is decoded here, and
// what is encoded here is read by its client.
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect,
  type OutgoingHttpHeaders,
  sensitiveHeaders,
} from "node:http2";
import { type Duplex, duplexPair } from "node:stream";
import { after, before, describe, test } from "node:test";

import { chooseSeed, Random } from "../../../../test/support/random.ts";
import { HeaderDecoder } from "./decoder.ts";
import { encodeHeaders } from "./encoder.ts";

const types = { headers: 1, settings: 4, continuation: 9 };
const [endStream, endHeaders, priority] = [0x01, 0x04, 0x20];

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** The header blocks that a client sends: the fragments of HEADERS and CONTINUATION joined. */
class BlockReader {
  #bytes: Buffer = Buffer.alloc(0);
  #fragments: Buffer[] = [];
  #prefaceBytes = 24;
  readonly #onBlock: (streamId: number, block: Buffer) => void;

  constructor(onBlock: (streamId: number, block: Buffer) => void) {
    this.#onBlock = onBlock;
  }

  push(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (this.#bytes.length < this.#prefaceBytes) return;
    this.#bytes = this.#bytes.subarray(this.#prefaceBytes);
    this.#prefaceBytes = 0;
    while (this.#bytes.length >= 9) {
      const length = this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length < 9 + length) return;
      const [type, flags] = [this.#bytes.readUInt8(3), this.#bytes.readUInt8(4)];
      const streamId = this.#bytes.readUInt32BE(5);
      const payload = this.#bytes.subarray(9, 9 + length);
      this.#bytes = this.#bytes.subarray(9 + length);
      if (type !== types.headers && type !== types.continuation) continue;
      assert.equal(flags & 0x08, 0, "node:http2 pads no headers");
      const skipped = type === types.headers && (flags & priority) !== 0 ? 5 : 0;
      this.#fragments.push(payload.subarray(skipped));
      if ((flags & endHeaders) === 0) continue;
      const block = Buffer.concat(this.#fragments);
      this.#fragments = [];
      this.#onBlock(streamId, block);
    }
  }
}

/** A client of node:http2, and the other end of its connection. */
class Peer {
  readonly client: ClientHttp2Session;
  readonly socket: Duplex;
  readonly #received: ((streamId: number, block: Buffer) => void)[] = [];

  constructor(maxTableBytes: number) {
    const [socket, clientSocket] = duplexPair();
    this.socket = socket;
    const settings = Buffer.alloc(6);
    settings.writeUInt16BE(1); // SETTINGS_HEADER_TABLE_SIZE
    settings.writeUInt32BE(maxTableBytes, 2);
    socket.write(frame(types.settings, 0, 0, settings));
    this.client = connect("http://localhost", { createConnection: () => clientSocket });
    const reader = new BlockReader((id, block) => this.#received.shift()?.(id, block));
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
  }

  /** Sends a request. Returns its stream, and the block that arrives here. */
  async request(headers: OutgoingHttpHeaders) {
    const arrived = new Promise<readonly [number, Buffer]>((resolve) => {
      this.#received.push((...both) => resolve(both));
    });
    const stream = this.client.request(headers, { endStream: true });
    stream.on("error", () => undefined);
    const [streamId, block] = await arrived;
    return { stream, streamId, block };
  }

  close(): void {
    this.client.destroy();
    this.socket.destroy();
  }
}

const rpc = (method: string): OutgoingHttpHeaders => ({
  ":method": "POST",
  ":path": `/runtime.v1.RuntimeService/${method}`,
  "content-type": "application/grpc",
  "user-agent": "grpc-go/1.79.3",
  te: "trailers",
});

/** The headers as the client sends them. */
function sent(headers: OutgoingHttpHeaders): readonly (readonly [string, string])[] {
  const pseudo = { ":authority": "localhost:80", ":scheme": "http" };
  return Object.entries({ ...pseudo, ...headers })
    .flatMap(([name, value]) => [value ?? []].flat().map((one) => [name, String(one)] as const))
    .sort();
}

for (const maxTableBytes of [4096, 100, 0]) {
  describe(`blocks of a client with a table of ${maxTableBytes} bytes`, () => {
    let peer: Peer;
    let decoder: HeaderDecoder;
    before(async () => {
      peer = new Peer(maxTableBytes);
      await once(peer.client, "remoteSettings");
      decoder = new HeaderDecoder({ maxTableBytes, maxListBytes: 1e6, maxPairs: 200 });
    });
    after(() => peer.close());

    async function expectSame(headers: OutgoingHttpHeaders): Promise<Buffer> {
      const { block } = await peer.request(headers);
      assert.deepEqual([...decoder.decode(block)].sort(), sent(headers));
      return block;
    }

    test("the same call again is shorter where the table has room", async () => {
      const first = await expectSame(rpc("Version"));
      const second = await expectSame(rpc("Version"));
      // nghttp2 adds all but ":path".
      if (maxTableBytes === 4096) assert.ok(second.length < first.length / 2);
      else assert.ok(second.length <= first.length);
    });

    test("every character of a value", async () => {
      for (let code = 0x20; code <= 0xff; code++) {
        if (code === 0x7f) continue;
        const value = `a${String.fromCharCode(code)}b`.repeat(3);
        await expectSame({ ...rpc("Version"), "x-value": value });
      }
    });

    test("sensitive headers are never indexed, and are decoded", async () => {
      const headers = { ...rpc("Status"), authorization: "Bearer secret" };
      for (const _ of [1, 2]) {
        const block = await expectSame({ ...headers, [sensitiveHeaders]: ["authorization"] });
        // Index 23 of the static table in a literal of type 0001.
        assert.ok(block.includes(Buffer.from([0x1f, 23 - 15])), block.toString("hex"));
      }
    });

    test("blocks in several frames", async () => {
      const long = "abcdefghij".repeat(6000);
      const block = await expectSame({ ...rpc("Version"), "x-long": long });
      assert.ok(block.length > 16_384);
    });

    test("random headers, which evict each other", async (context) => {
      const seed = chooseSeed();
      context.diagnostic(`DAVIT_TEST_SEED=${seed} repeats this`);
      const random = new Random(seed);
      for (let round = 0; round < 300; round++) {
        const headers = rpc(random.pick(["Version", "Status", "ListContainers"]));
        headers["grpc-timeout"] = `${random.between(1, 99_999_999)}u`;
        for (let count = random.between(0, 8); count > 0; count--) {
          const value = Array.from({ length: random.spread(1, 600) }, () =>
            String.fromCharCode(random.between(0x21, 0x7e)),
          );
          headers[`x-${random.between(1, 30)}`] = value.join("");
        }
        await expectSame(headers);
      }
    });
  });
}

test("a client that is told to use a smaller table says so before its next headers", async () => {
  const peer = new Peer(4096);
  await once(peer.client, "remoteSettings");
  const decoder = new HeaderDecoder({ maxTableBytes: 4096, maxListBytes: 1e6, maxPairs: 200 });
  decoder.decode((await peer.request(rpc("Version"))).block);
  const settings = Buffer.alloc(6);
  settings.writeUInt16BE(1);
  peer.socket.write(frame(types.settings, 0, 0, settings));
  await once(peer.client, "remoteSettings");
  const { block } = await peer.request(rpc("Version"));
  assert.equal(block[0], 0x20, "the size of the table is 0");
  assert.deepEqual([...decoder.decode(block)].sort(), sent(rpc("Version")));
  peer.close();
});

test("a client reads responses and trailers that were encoded here", async (context) => {
  const seed = chooseSeed();
  context.diagnostic(`DAVIT_TEST_SEED=${seed} repeats this`);
  const random = new Random(seed);
  const peer = new Peer(4096);
  await once(peer.client, "remoteSettings");
  for (let round = 0; round < 100; round++) {
    const { stream, streamId } = await peer.request(rpc("Version"));
    const message = Array.from({ length: random.spread(1, 3000) }, () =>
      String.fromCharCode(random.pick([0x21, 0x41, 0x7e, 0xa0, 0xff, random.between(0x21, 0x7e)])),
    ).join("");
    const status = random.pick(["200", "204", "404", "415", "599"]);
    const trailers: [string, string][] = [
      ["grpc-status", String(round % 17)],
      ["grpc-message", message],
      ["x".repeat(random.spread(1, 300)), "1"],
    ];
    const headers = encodeHeaders([
      [":status", status],
      ["content-type", "application/grpc"],
    ]);
    const response = once(stream, "response");
    const ended = once(stream, "trailers");
    stream.resume();
    peer.socket.write(frame(types.headers, endHeaders, streamId, headers));
    peer.socket.write(
      frame(types.headers, endHeaders | endStream, streamId, encodeHeaders(trailers)),
    );
    const [head] = (await response) as [Readonly<Record<string, unknown>>];
    assert.equal(head[":status"], Number(status));
    assert.equal(head["content-type"], "application/grpc");
    const [found] = (await ended) as [Readonly<Record<string, unknown>>];
    assert.deepEqual(Object.entries(found), trailers);
  }
  peer.close();
});
