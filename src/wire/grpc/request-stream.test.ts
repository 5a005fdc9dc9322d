// Calls with a stream of requests: GrpcServer and GrpcClient with each other, and with grpc-js.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { describe, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { kindOf, RuntimeError } from "../../base/errors.ts";
import type { CallEnd, StreamMethod } from "./call.ts";
import { GrpcClient } from "./client.ts";
import { frame } from "./codec.ts";
import { aborted } from "./testing/raw-calls.ts";
import { echoPath, serve } from "./testing/serving.ts";

const total: StreamMethod = {
  kind: "stream",
  async *handle(requests) {
    let bytes = 0;
    for await (const request of requests) bytes += request.length;
    yield Buffer.from(String(bytes));
  },
};

async function* chunks(count: number, size: number, taken?: () => void): AsyncGenerator<Buffer> {
  for (let i = 0; i < count; i++) {
    taken?.();
    yield Buffer.alloc(size, i);
  }
}

async function textsOf(responses: AsyncIterable<Uint8Array>): Promise<readonly string[]> {
  const texts: string[] = [];
  for await (const each of responses) texts.push(Buffer.from(each).toString());
  return texts;
}

describe("a stream of requests", () => {
  test("arrives whole, whatever the sizes of its messages", async () => {
    const ends: CallEnd[] = [];
    await using serving = await serve(
      { Total: total },
      { onCall: () => (end) => void ends.push(end) },
    );
    using client = new GrpcClient({ path: serving.path });
    for (const [count, size] of [
      [0, 0],
      [3, 0],
      [1000, 10],
      [50, 1_000_000],
    ] as const) {
      const sum = await textsOf(client.stream(echoPath("Total"), chunks(count, size)));
      assert.deepEqual(sum, [String(count * size)]);
      assert.deepEqual([ends.at(-1)?.code, ends.at(-1)?.requestBytes], [0, count * size]);
    }
  });

  test("and a stream of responses do not wait for each other", { timeout: 60_000 }, async () => {
    const echoes: StreamMethod = { kind: "stream", handle: (requests) => requests };
    await using serving = await serve({ Echo: echoes });
    using client = new GrpcClient({ path: serving.path });
    // More in both directions than the sockets hold.
    let bytes = 0;
    for await (const response of client.stream(echoPath("Echo"), chunks(160, 65_536))) {
      bytes += response.length;
    }
    assert.equal(bytes, 160 * 65_536);
  });

  test("does not wait for a client on Node.js with a large window", {
    timeout: 60_000,
  }, async () => {
    const echoes: StreamMethod = { kind: "stream", handle: (requests) => requests };
    await using serving = await serve({ Echo: echoes });
    // NOTE(node): it reads nothing while one of its writes waits for the socket.
    const session = connect("http://localhost", {
      createConnection: () => connectSocket(serving.path),
      settings: { initialWindowSize: 64 * 1024 * 1024 },
      maxSessionMemory: 256,
    });
    await once(session, "connect");
    session.setLocalWindowSize(64 * 1024 * 1024);
    const stream = session.request({
      ":method": "POST",
      ":path": echoPath("Echo"),
      "content-type": "application/grpc",
    });
    for (let i = 0; i < 400; i++) stream.write(frame(Buffer.alloc(65_536)));
    stream.end();
    let bytes = 0;
    for await (const chunk of stream) bytes += (chunk as Buffer).length;
    assert.equal(bytes, 400 * frame(Buffer.alloc(65_536)).length);
    session.destroy();
  });

  test("is answered while it is sent", async () => {
    const echoes: StreamMethod = {
      kind: "stream",
      async *handle(requests) {
        for await (const request of requests) yield request;
      },
    };
    await using serving = await serve({ Echo: echoes });
    const client = new grpc.Client(`unix://${serving.path}`, grpc.credentials.createInsecure());
    try {
      const call = client.makeBidiStreamRequest<Buffer, Buffer>(
        echoPath("Echo"),
        (bytes) => bytes,
        (bytes) => bytes,
      );
      for (const word of ["one", "two"]) {
        const answered = once(call, "data") as Promise<[Buffer]>;
        call.write(Buffer.from(word));
        assert.equal((await answered)[0].toString(), word);
      }
      const status = once(call, "status") as Promise<[grpc.StatusObject]>;
      call.end();
      assert.equal((await status)[0].code, grpc.status.OK);
    } finally {
      client.close();
    }
  });

  test("is read from its source no faster than the handler reads it", async () => {
    const mayRead = Promise.withResolvers<undefined>();
    const slow: StreamMethod = {
      kind: "stream",
      async *handle(requests, call) {
        await mayRead.promise;
        yield* total.handle(requests, call);
      },
    };
    await using serving = await serve({ Slow: slow });
    using client = new GrpcClient({ path: serving.path });
    let taken = 0;
    const sum = textsOf(
      client.stream(
        echoPath("Slow"),
        chunks(200, 100_000, () => taken++),
      ),
    );
    // The source is idle when no chunk was taken for some turns of the event loop.
    for (let idle = 0, before = -1; idle < 50; before = taken) {
      idle = before === taken && taken > 0 ? idle + 1 : 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(taken < 150, `${taken} chunks of 100 kB were taken`);
    mayRead.resolve(undefined);
    assert.deepEqual(await sum, ["20000000"]);
  });

  test("ends with the failure of the handler, before it was sent whole", async () => {
    const refuse: StreamMethod = {
      kind: "stream",
      async *handle(requests) {
        let count = 0;
        for await (const _ of requests) {
          if (++count === 1) yield Buffer.from("first");
          else throw new RuntimeError("failed-precondition", "no more of this");
        }
      },
    };
    await using serving = await serve({ Refuse: refuse });
    using client = new GrpcClient({ path: serving.path });
    const closed = Promise.withResolvers<undefined>();
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield Buffer.alloc(100_000);
      } finally {
        closed.resolve(undefined);
      }
    }
    const got: string[] = [];
    await assert.rejects(
      async () => {
        for await (const each of client.stream(echoPath("Refuse"), endless())) {
          got.push(Buffer.from(each).toString());
        }
      },
      { kind: "failed-precondition", message: "no more of this" },
    );
    assert.deepEqual(got, ["first"]);
    await closed.promise;
    // The connection can still be used.
    assert.deepEqual(await textsOf(client.stream(echoPath("Refuse"), chunks(1, 1))), ["first"]);
  });

  test("whose source fails cancels the call, and the caller gets that failure", async () => {
    const seen = Promise.withResolvers<unknown>();
    const watch: StreamMethod = {
      kind: "stream",
      async *handle(requests, call) {
        call.signal.addEventListener("abort", () => seen.resolve(call.signal.reason));
        for await (const _ of requests) yield Buffer.from("next");
        // The requests may have ended before the call is canceled, see StreamMethod.
        await aborted(call);
      },
    };
    await using serving = await serve({ Watch: watch });
    using client = new GrpcClient({ path: serving.path });
    const isAnswered = Promise.withResolvers<undefined>();
    async function* failing(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(1);
      await isAnswered.promise;
      throw new RuntimeError("not-found", "the file is gone");
    }
    await assert.rejects(
      async () => {
        for await (const _ of client.stream(echoPath("Watch"), failing())) {
          isAnswered.resolve(undefined);
        }
      },
      { kind: "not-found", message: "the file is gone" },
    );
    assert.equal(kindOf(await seen.promise), "canceled");
  });

  test("with a message over the limit is refused", async () => {
    await using serving = await serve({ Total: total }, { maxMessageBytes: 1000 });
    using client = new GrpcClient({ path: serving.path });
    await assert.rejects(textsOf(client.stream(echoPath("Total"), chunks(1, 1001))), {
      kind: "resource-exhausted",
    });
  });

  test("that is canceled with much to send leaves a usable connection", async () => {
    await using serving = await serve({ Total: total });
    using client = new GrpcClient({ path: serving.path });
    for (let i = 0; i < 10; i++) {
      await assert.rejects(textsOf(client.stream(echoPath("Total"), chunks(1, 20_000_000))));
      assert.deepEqual(await textsOf(client.stream(echoPath("Total"), chunks(1, 1))), ["1"]);
    }
  });
});

test("a connection with many canceled responses is usable, and running calls continue", async () => {
  const endless: StreamMethod = {
    kind: "stream",
    async *handle() {
      for (;;) yield Buffer.alloc(1_000_000);
    },
  };
  const echoes: StreamMethod = { kind: "stream", handle: (requests) => requests };
  await using serving = await serve({ Endless: endless, Echo: echoes });
  using client = new GrpcClient({ path: serving.path });
  const more = Promise.withResolvers<undefined>();
  async function* slow(): AsyncGenerator<Buffer> {
    yield Buffer.from("first");
    await more.promise;
    yield Buffer.from("second");
  }
  const running = client.stream(echoPath("Echo"), slow());
  assert.equal(Buffer.from((await running.next()).value ?? []).toString(), "first");
  // More than the bytes that may wait on a connection of the server.
  for (let i = 0; i < 300; i++) {
    for await (const _ of client.stream(echoPath("Endless"), chunks(1, 1))) break;
  }
  more.resolve(undefined);
  assert.deepEqual(await textsOf(running), ["second"]);
});
