import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, connect, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";

import { kindOf, messageOf, RuntimeError, type ErrorKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { grpcCodeOfKind } from "../grpc/status.ts";
import { scratchDirectory } from "../grpc/testing/serving.ts";
import { TtrpcClient } from "./client.ts";
import { encodeFrame, maxDataBytes } from "./frame.ts";
import { type TtrpcHandler, TtrpcServer } from "./server.ts";
import { seededRandom } from "./testing/random.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (message: Uint8Array): string => new TextDecoder().decode(message);
const method = (name: string) => ({ service: "test.Echo", method: name });
const ofKind =
  (kind: ErrorKind, words = /./) =>
  (error: unknown): true => {
    assert.equal(kindOf(error), kind, String(error));
    assert.match(messageOf(error), words);
    return true;
  };
const never = new Promise<never>(() => undefined);

/** A server with these methods and a client, while `use` runs. */
async function serving(
  methods: Readonly<Record<string, TtrpcHandler>>,
  use: (client: TtrpcClient, server: TtrpcServer, path: string) => Promise<void>,
): Promise<void> {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "t.sock");
  const server = new TtrpcServer({
    methods: new Map(Object.entries(methods).map(([name, it]) => [`test.Echo/${name}`, it])),
    log: silentLogger,
  });
  await server.listen(path, { mode: 0o600 });
  try {
    using client = await TtrpcClient.connect(path);
    await use(client, server, path);
  } finally {
    await server.stop();
  }
}

/** A peer whose connections the test controls. */
async function peer(
  onConnection: (socket: Socket) => void,
  use: (client: TtrpcClient) => Promise<void>,
): Promise<void> {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "p.sock");
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  try {
    using client = await TtrpcClient.connect(path);
    await use(client);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

const echo: TtrpcHandler = { kind: "unary", handle: (request) => Promise.resolve(request) };

describe("ttrpc, unary calls", () => {
  it("serves concurrent calls", async () => {
    const waiting: (() => void)[] = [];
    const count = 200;
    const handle = async (request: Uint8Array): Promise<Uint8Array> => {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        // The last one releases all, newest first.
        if (waiting.length === count) for (const go of waiting.toReversed()) go();
      });
      return request;
    };
    await serving({ Late: { kind: "unary", handle } }, async (client) => {
      const sent = Array.from({ length: count }, (_, at) => `message ${at}`);
      const got = await Promise.all(sent.map((it) => client.unary(method("Late"), bytes(it))));
      assert.deepEqual(got.map(text), sent);
    });
  });

  it("carries every kind of failure", async () => {
    const handle = (request: Uint8Array): Promise<Uint8Array> =>
      Promise.reject(new RuntimeError(text(request) as ErrorKind, `as ${text(request)}`));
    await serving({ Fail: { kind: "unary", handle } }, async (client) => {
      for (const kind of Object.keys(grpcCodeOfKind) as ErrorKind[]) {
        await assert.rejects(
          client.unary(method("Fail"), bytes(kind)),
          ofKind(kind, new RegExp(`^as ${kind}$`)),
        );
      }
    });
  });

  it("truncates the message of a failure that does not fit a frame, and continues", async () => {
    const words = `so much: ${"ü".repeat(maxDataBytes)}`;
    const handle = (): Promise<never> => Promise.reject(new RuntimeError("not-found", words));
    await serving({ Fail: { kind: "unary", handle }, Echo: echo }, async (client) => {
      await assert.rejects(
        client.unary(method("Fail"), bytes("")),
        ofKind("not-found", /^so much: ü{1000,}.?$/),
      );
      assert.equal(text(await client.unary(method("Echo"), bytes("still"))), "still");
    });
  });

  it("reports an unknown method", async () => {
    await serving({}, async (client) => {
      await assert.rejects(client.unary(method("None"), bytes("")), ofKind("unimplemented"));
    });
  });

  it("passes metadata and the deadline, which ends the call on both sides", async () => {
    const ended = Promise.withResolvers<unknown>();
    const handle: Extract<TtrpcHandler, { kind: "unary" }>["handle"] = (_request, call) => {
      assert.deepEqual(call.metadata, { namespace: "k8s.io" });
      call.signal.addEventListener("abort", () => ended.resolve(call.signal.reason));
      return never;
    };
    await serving({ Hang: { kind: "unary", handle } }, async (client) => {
      const options = { timeoutMs: 20, metadata: { namespace: "k8s.io" } };
      await assert.rejects(
        client.unary(method("Hang"), bytes(""), options),
        ofKind("deadline-exceeded"),
      );
      assert.equal(kindOf(await ended.promise), "deadline-exceeded");
    });
  });

  it("cancels a call, and drops its late response", async () => {
    const late = Promise.withResolvers<Uint8Array>();
    await serving({ Late: { kind: "unary", handle: () => late.promise }, echo }, async (client) => {
      const abort = new AbortController();
      const call = client.unary(method("Late"), bytes(""), { signal: abort.signal });
      abort.abort();
      await assert.rejects(call, ofKind("canceled"));
      late.resolve(bytes("too late"));
      assert.equal(text(await client.unary(method("echo"), bytes("next"))), "next");
      const aborted = { signal: AbortSignal.abort() };
      await assert.rejects(client.unary(method("echo"), bytes(""), aborted), ofKind("canceled"));
    });
  });

  it("fails all calls at once when the peer ends", async () => {
    const hanging: TtrpcHandler = { kind: "unary", handle: () => never };
    await serving({ Hang: hanging }, async (client, server) => {
      const calls = Array.from({ length: 5 }, () => client.unary(method("Hang"), bytes("")));
      const all = Promise.allSettled(calls);
      await server.stop();
      for (const call of await all) {
        assert.ok(call.status === "rejected");
        ofKind("unavailable")(call.reason);
      }
      assert.equal(kindOf(await client.closed), "unavailable");
      assert.throws(() => client.stream(method("Hang"), bytes("")), ofKind("unavailable"));
    });
  });

  it("rejects messages over 4 MiB and continues", async () => {
    const huge: TtrpcHandler = {
      kind: "unary",
      handle: () => Promise.resolve(new Uint8Array(maxDataBytes)),
    };
    await serving({ Huge: huge, echo }, async (client, _server, path) => {
      const tooLarge = new Uint8Array(maxDataBytes);
      const sent = client.unary(method("echo"), tooLarge);
      await assert.rejects(sent, ofKind("resource-exhausted"));
      await assert.rejects(
        client.unary(method("Huge"), bytes("")),
        ofKind("resource-exhausted", /limit/),
      );
      assert.equal(text(await client.unary(method("echo"), bytes("on"))), "on");

      // A peer that does not know the limit.
      const socket = connect(path);
      const header = Buffer.from([0, 0x40, 0, 1, 0, 0, 0, 1, 1, 0]);
      socket.write(Buffer.concat([header, Buffer.alloc(maxDataBytes + 1)]));
      const [answer] = (await once(socket, "data")) as [Buffer];
      assert.equal(answer.readUInt8(8), 2);
      assert.match(answer.toString("latin1"), /exceeds the size limit/);
      socket.destroy();
    });
  });

  it("connect() reports a socket that no process serves", async () => {
    await using directory = await scratchDirectory();
    await assert.rejects(
      TtrpcClient.connect(join(directory.path, "none")),
      ofKind("unavailable", /no such socket/),
    );
  });
});

describe("ttrpc, streams", () => {
  const upper: TtrpcHandler = {
    kind: "stream",
    handle: async (request, stream) => {
      stream.send(request);
      for await (const message of stream) stream.send(bytes(text(message).toUpperCase()));
    },
  };

  it("carry messages in both directions until both sides have closed", async () => {
    await serving({ Upper: upper }, async (client) => {
      const stream = client.stream(method("Upper"), bytes("first"), { sends: true });
      stream.send(bytes("a"));
      stream.send(bytes(""));
      stream.send(bytes("b"));
      stream.closeSend();
      const got: string[] = [];
      for await (const it of stream) got.push(text(it));
      assert.deepEqual(got, ["first", "A", "", "B"]);
      assert.throws(() => stream.send(bytes("c")), ofKind("failed-precondition"));
    });
  });

  it("end with the server's failure, after its messages", async () => {
    const failing: TtrpcHandler = {
      kind: "stream",
      handle: (_request, stream) => {
        stream.send(bytes("one"));
        return Promise.reject(new RuntimeError("aborted", "half-way"));
      },
    };
    await serving({ Fail: failing }, async (client) => {
      const got: string[] = [];
      await assert.rejects(
        async () => {
          for await (const it of client.stream(method("Fail"), bytes(""))) got.push(text(it));
        },
        ofKind("aborted", /half-way/),
      );
      assert.deepEqual(got, ["one"]);
    });
  });

  it("end when the client disconnects, and when the server ends", async () => {
    const left = Promise.withResolvers<unknown>();
    const waiting: TtrpcHandler = {
      kind: "stream",
      handle: async (_request, stream, call) => {
        call.signal.addEventListener("abort", () => left.resolve(call.signal.reason));
        stream.send(bytes("here"));
        await never;
      },
    };
    await serving({ Wait: waiting }, async (client, server, path) => {
      const other = await TtrpcClient.connect(path);
      for await (const it of other.stream(method("Wait"), bytes(""))) {
        assert.equal(text(it), "here");
        break;
      }
      other.close();
      assert.equal(kindOf(await left.promise), "canceled");
      await assert.rejects(async () => {
        for await (const _ of client.stream(method("Wait"), bytes(""))) await server.stop();
      }, ofKind("unavailable"));
    });
  });
});

describe("ttrpc, invalid data", () => {
  it("closes only the connection of a client that sends it", async () => {
    await serving({ echo }, async (client, _server, path) => {
      for (let seed = 1; seed <= 40; seed++) {
        const random = seededRandom(seed);
        const socket = connect(path);
        const closed = new Promise<void>((resolve) => {
          socket.on("close", () => resolve());
        });
        socket.on("error", () => undefined);
        socket.resume();
        // It may be the start of a frame, which the end of the input then truncates.
        socket.end(Buffer.from(Uint8Array.from({ length: 64 }, () => random(256))));
        await closed;
        assert.equal(text(await client.unary(method("echo"), bytes(`${seed}`))), `${seed}`);
      }
    });
  });

  const garbage: Readonly<Record<string, Buffer>> = {
    "bytes that are not a frame": Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a malformed response": encodeFrame({ streamId: 1, type: 2, flags: 0 }, bytes("\xff\xff")),
    "a response to a call that was not made": encodeFrame({ streamId: 99, type: 2, flags: 0 }),
    "an even stream": encodeFrame({ streamId: 2, type: 2, flags: 0 }),
    "data for a unary call": encodeFrame({ streamId: 1, type: 3, flags: 0 }, bytes("data")),
  };
  for (const [what, answer] of Object.entries(garbage)) {
    it(`closes the connection to a server that responds with ${what}`, async () => {
      await peer(
        (socket) => socket.once("data", () => socket.write(answer)),
        async (client) => {
          const call = client.unary(method("echo"), bytes("?"));
          await assert.rejects(call, ofKind("unavailable"));
          assert.match(messageOf(await client.closed), /does not speak ttrpc/);
        },
      );
    });
  }

  it("closes the connection to a server that does not read what a stream sends", async () => {
    await peer(
      (socket) => socket.pause(),
      async (client) => {
        const stream = client.stream(method("echo"), bytes(""), { sends: true });
        const message = new Uint8Array(1024 * 1024);
        const sendAll = (): void => {
          for (let sent = 0; sent < 80; sent++) stream.send(message);
        };
        assert.throws(sendAll, ofKind("unavailable", /the peer does not read/));
        assert.match(messageOf(await client.closed), /67108864 bytes were not sent/);
      },
    );
  });

  it("accepts frames one byte at a time", async () => {
    await peer(
      (socket) => {
        socket.once("data", () => {
          const answer = encodeFrame({ streamId: 1, type: 2, flags: 0 }, bytes("\x12\x02ok"));
          for (const byte of answer) socket.write(Buffer.from([byte]));
        });
      },
      async (client) => {
        assert.equal(text(await client.unary(method("echo"), bytes("?"))), "ok");
      },
    );
  });
});
