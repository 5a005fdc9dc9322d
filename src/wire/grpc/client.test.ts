import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createServer } from "node:http2";
import { createServer as createSocketServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { RuntimeError } from "../../base/errors.ts";
import { listenUnix } from "../unix-socket.ts";
import type { Call, Method } from "./call.ts";
import { GrpcClient } from "./client.ts";
import { GrpcStatusError } from "./status.ts";
import { echo, echoPath, scratchDirectory, serve } from "./testing/serving.ts";

const count: Method = {
  kind: "server-stream",
  async *handle(request) {
    for (let i = 0; i < (request[0] ?? 0); i++) yield Buffer.from([i]);
  },
};

const failing: Method = {
  kind: "unary",
  handle: () => Promise.reject(new RuntimeError("not-found", "no such thing \u00fc")),
};

test("GrpcClient calls unary and streaming methods, with large messages, too", async () => {
  await using serving = await serve({ Echo: echo, Count: count });
  using client = new GrpcClient({ path: serving.path });
  const big = Buffer.alloc(15_900_000, "x");
  assert.ok(big.equals(await client.unary(echoPath("Echo"), big)));
  const got: number[] = [];
  for await (const message of client.serverStream(echoPath("Count"), Buffer.from([100]))) {
    got.push(message[0] ?? -1);
  }
  assert.deepEqual(
    got,
    Array.from({ length: 100 }, (_, i) => i),
  );
});

test("GrpcClient throws the server's status as GrpcStatusError with its kind", async () => {
  await using serving = await serve({ Failing: failing });
  using client = new GrpcClient({ path: serving.path });
  await assert.rejects(client.unary(echoPath("Failing"), Buffer.alloc(0)), (error) => {
    assert.ok(error instanceof GrpcStatusError && error instanceof RuntimeError);
    assert.deepEqual(
      [error.code, error.kind, error.message],
      [5, "not-found", "no such thing \u00fc"],
    );
    return true;
  });
  await assert.rejects(client.unary(echoPath("Nope"), Buffer.alloc(0)), { kind: "unimplemented" });
});

test("GrpcClient ends a call by timeout and by signal, and the server sees it", async () => {
  const calls: Call[] = [];
  let called = Promise.withResolvers<undefined>();
  const method: Method = {
    kind: "unary",
    handle: (_, call) => {
      calls.push(call);
      called.resolve(undefined);
      return new Promise<never>((_resolve, reject) => {
        call.signal.addEventListener("abort", () => reject(new Error("left")));
      });
    },
  };
  await using serving = await serve({ Stuck: method });
  using client = new GrpcClient({ path: serving.path });
  await assert.rejects(client.unary(echoPath("Stuck"), Buffer.alloc(0), { timeoutMs: 30 }), {
    kind: "deadline-exceeded",
    code: 4,
  });
  assert.ok(calls[0]?.deadline !== undefined);

  called = Promise.withResolvers();
  const controller = new AbortController();
  const answer = client.unary(echoPath("Stuck"), Buffer.alloc(0), { signal: controller.signal });
  await called.promise;
  const call = calls[1];
  assert.ok(call !== undefined);
  const left = new Promise((resolve) => {
    call.signal.addEventListener("abort", resolve);
  });
  controller.abort();
  await assert.rejects(answer, { kind: "canceled", code: 1 });
  await left;
  await assert.rejects(
    client.unary(echoPath("Stuck"), Buffer.alloc(0), { signal: controller.signal }),
    { kind: "canceled" },
  );
  assert.equal(calls.length, 2);
});

test("GrpcClient cancels a stream when its caller leaves the loop", async () => {
  const finished = Promise.withResolvers<undefined>();
  const endless: Method = {
    kind: "server-stream",
    async *handle() {
      try {
        for (;;) yield Buffer.alloc(1000);
      } finally {
        finished.resolve(undefined);
      }
    },
  };
  await using serving = await serve({ Endless: endless });
  using client = new GrpcClient({ path: serving.path });
  let taken = 0;
  for await (const message of client.serverStream(echoPath("Endless"), Buffer.alloc(0))) {
    assert.equal(message.length, 1000);
    taken += 1;
    if (taken === 10) break;
  }
  await finished.promise;
});

test("GrpcClient rejects a response over its limit and continues", async () => {
  await using serving = await serve({ Echo: echo });
  using client = new GrpcClient({ path: serving.path, maxMessageBytes: 1000 });
  await assert.rejects(client.unary(echoPath("Echo"), Buffer.alloc(1001)), {
    kind: "resource-exhausted",
    message: /1001 bytes are more than the limit of 1000/,
  });
  assert.equal((await client.unary(echoPath("Echo"), Buffer.alloc(1000))).length, 1000);
});

test("GrpcClient names the socket that it cannot reach, and connects when it exists", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  using client = new GrpcClient({ path });
  await assert.rejects(client.unary(echoPath("Echo"), Buffer.alloc(1)), (error) => {
    assert.ok(error instanceof GrpcStatusError);
    assert.equal(error.kind, "unavailable");
    assert.match(error.message, new RegExp(`^connect to "${path}": there is no such socket: .*`));
    return true;
  });
  await using serving = await serve({ Echo: echo });
  await serving.server.stop(0);
  using other = new GrpcClient({ path: serving.path });
  await assert.rejects(other.unary(echoPath("Echo"), Buffer.alloc(1)), { kind: "unavailable" });
});

test("GrpcClient reconnects when the server was started again", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  using client = new GrpcClient({ path });
  const { GrpcServer } = await import("./server.ts");
  const { silentLogger } = await import("../../base/logger.ts");
  for (let life = 0; life < 3; life++) {
    const server = new GrpcServer({
      methods: new Map([[echoPath("Echo"), echo]]),
      maxMessageBytes: 1000,
      toStatus: () => ({ code: 2, message: "" }),
      logger: silentLogger,
    });
    await server.listen(path, { mode: 0o600 });
    assert.equal((await client.unary(echoPath("Echo"), Buffer.alloc(1))).length, 1);
    await server.stop(1000);
  }
  await assert.rejects(client.unary(echoPath("Echo"), Buffer.alloc(1)), { kind: "unavailable" });
});

test("GrpcClient fails calls after close(), and calls whose server ends", async () => {
  const called = Promise.withResolvers<undefined>();
  const method: Method = {
    kind: "unary",
    handle: () => {
      called.resolve(undefined);
      return new Promise<never>(() => undefined);
    },
  };
  await using serving = await serve({ Stuck: method });
  using client = new GrpcClient({ path: serving.path });
  const lost = assert.rejects(client.unary(echoPath("Stuck"), Buffer.alloc(0)), {
    name: "GrpcStatusError",
    kind: "unavailable",
  });
  await called.promise;
  await serving.server.stop(0);
  await lost;
  client.close();
  await assert.rejects(client.unary(echoPath("Stuck"), Buffer.alloc(0)), { kind: "canceled" });
});

test("GrpcClient reports unavailable when a connection breaks silently", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  const listener = await listenUnix(
    createSocketServer((socket) => {
      socket.once("data", () => socket.destroy());
    }),
    path,
    { mode: 0o600 },
  );
  using client = new GrpcClient({ path });
  for (let i = 0; i < 3; i++) {
    await assert.rejects(client.unary("/a/b", Buffer.alloc(10)), {
      name: "GrpcStatusError",
      kind: "unavailable",
    });
  }
  await listener.close();
});

test("GrpcClient reports a server that does not speak gRPC", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  const web = createServer();
  web.on("stream", (stream) => {
    stream.respond({ ":status": 503 });
    stream.end("busy");
  });
  const listener = await listenUnix(web, path, { mode: 0o600 });
  const client = new GrpcClient({ path });
  await assert.rejects(client.unary("/a/b", Buffer.alloc(0)), {
    kind: "unavailable",
    message: /HTTP status 503/,
  });
  client.close();
  await listener.close();
});

test("thousands of calls with every kind of end leak neither memory nor descriptors", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  await using serving = await serve({ Echo: echo, Failing: failing, Count: count });
  using client = new GrpcClient({ path: serving.path });
  const request = Buffer.alloc(200, 3);

  async function caller(calls: number): Promise<void> {
    for (let i = 0; i < calls; i++) {
      if (i % 20 === 0) {
        await assert.rejects(client.unary(echoPath("Failing"), request, { timeoutMs: 60_000 }));
      } else if (i % 20 === 1) {
        for await (const _ of client.serverStream(echoPath("Count"), request)) break;
      } else {
        await client.unary(echoPath("Echo"), request, { timeoutMs: 60_000 });
      }
    }
  }
  async function run(calls: number) {
    await Promise.all(Array.from({ length: 16 }, () => caller(calls / 16)));
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return { bytes: heapUsed + external, descriptors: readdirSync("/proc/self/fd").length };
  }
  // A leak grows with every round. Other memory of the engine (compiled code, reserved buffers)
  // can grow at any time on a busy machine, but not in every round.
  let before = await run(4000);
  const grown: number[] = [];
  do {
    const after = await run(8000);
    assert.equal(after.descriptors, before.descriptors);
    grown.push(after.bytes - before.bytes);
    before = after;
  } while ((grown.at(-1) ?? 0) > 1024 * 1024 && grown.length < 6);
  const text = `bytes more after each 8,000 calls: ${grown.join(", ")}`;
  assert.ok((grown.at(-1) ?? 0) <= 1024 * 1024, text);
});

test("onOpen is called when the server opens a stream, before its first response", async () => {
  const gate = Promise.withResolvers<undefined>();
  const waiting: Method = {
    kind: "server-stream",
    async *handle(_request, call) {
      call.sendHeaders();
      call.sendHeaders();
      await gate.promise;
      yield Buffer.from("late");
      throw new RuntimeError("unavailable", "the end");
    },
  };
  await using serving = await serve({ Waiting: waiting, Failing: failing, Count: count });
  using client = new GrpcClient({ path: serving.path });
  const opened = Promise.withResolvers<undefined>();
  const onOpen = (): void => {
    opened.resolve(undefined);
  };
  const responses = client.serverStream(echoPath("Waiting"), Buffer.alloc(0), { onOpen });
  const first = responses.next();
  await opened.promise;
  gate.resolve(undefined);
  assert.equal(String((await first).value), "late");
  await assert.rejects(responses.next(), /the end/);

  let opens = 0;
  const counting = { onOpen: () => void (opens += 1) };
  await assert.rejects(client.unary(echoPath("Failing"), Buffer.alloc(0), counting));
  const none = client.serverStream(echoPath("Count"), Buffer.from([0]), counting);
  assert.equal((await none.next()).done, true);
  assert.equal(opens, 0, "there was no response");
});
