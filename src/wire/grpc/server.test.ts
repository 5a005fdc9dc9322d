import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { describe, test } from "node:test";
import { status as codes } from "@grpc/grpc-js";

import { RuntimeError } from "../../base/errors.ts";
import type { Call, CallEnd, Method } from "./call.ts";
import { grpcCodeOfKind } from "./status.ts";
import { aborted, oneByte, rawCall, rawSession, stuck } from "./testing/raw-calls.ts";
import { echo, ForeignClient, serve } from "./testing/serving.ts";

describe("GrpcServer with a grpc-js client", () => {
  test("serves unary calls, also with an empty message", async () => {
    await using serving = await serve({ Echo: echo });
    using client = new ForeignClient(serving.path);
    assert.deepEqual(await client.unary("Echo", Buffer.from("hello")).answer, Buffer.from("hello"));
    assert.deepEqual(await client.unary("Echo", Buffer.alloc(0)).answer, Buffer.alloc(0));
  });

  test("carries 15.9 MB in both directions, and many concurrent calls", async () => {
    await using serving = await serve({ Echo: echo });
    using client = new ForeignClient(serving.path);
    const big = Buffer.alloc(15_900_000, "davit");
    const answers = await Promise.all([1, 2, 3].map(() => client.unary("Echo", big).answer));
    for (const answer of answers) assert.ok(answer.equals(big));
  });

  test("rejects a request and a response over the limit, and continues", async () => {
    const grow: Method = { kind: "unary", handle: () => Promise.resolve(Buffer.alloc(1001)) };
    await using serving = await serve({ Echo: echo, Grow: grow }, { maxMessageBytes: 1000 });
    using client = new ForeignClient(serving.path);
    for (const size of [1001, 5_000_000]) {
      await assert.rejects(client.unary("Echo", Buffer.alloc(size)).answer, {
        code: codes.RESOURCE_EXHAUSTED,
        details: `read message: ${size} bytes are more than the limit of 1000`,
      });
    }
    await assert.rejects(client.unary("Grow", oneByte).answer, {
      code: codes.RESOURCE_EXHAUSTED,
      details: "send response: 1001 bytes are more than the limit of 1000",
    });
    assert.deepEqual(await client.unary("Echo", Buffer.alloc(1000)).answer, Buffer.alloc(1000));
  });

  test("gives handlers the client's metadata", async () => {
    const seen: unknown[] = [];
    const Read: Method = {
      kind: "unary",
      handle: (request, call) => {
        seen.push(["traceparent", "tracestate", "absent"].map((name) => call.metadata(name)));
        return Promise.resolve(request);
      },
    };
    await using serving = await serve({ Read });
    using session = rawSession(serving.path);
    const headers = { traceparent: ["a", "b"], tracestate: "c=d" };
    await rawCall(session, { ":path": "/test.Echo/Read", ...headers });
    assert.deepEqual(seen, [["a, b", "c=d", undefined]]);
  });

  test("names unimplemented methods and services", async () => {
    await using serving = await serve({ Echo: echo });
    using client = new ForeignClient(serving.path);
    await assert.rejects(client.unary("Nope", oneByte).answer, {
      code: codes.UNIMPLEMENTED,
      details: 'call "/test.Echo/Nope": the service has no such method',
    });
    using session = rawSession(serving.path);
    const answer = await rawCall(session, { ":path": "/other.Service/Nope" });
    assert.equal(answer.headers["grpc-status"], "12");
    assert.match(
      String(answer.headers["grpc-message"]),
      /no such service; the server has test.Echo/,
    );
  });

  test("converts errors to status, message in any script, and details", async () => {
    const details = Buffer.from([1, 2, 3, 4]);
    const failing: Method = {
      kind: "unary",
      handle: () => Promise.reject(new RuntimeError("not-found", 'no pod "\u00fc\n%"')),
    };
    const throwing: Method = {
      kind: "unary",
      handle: () => {
        throw new Error("at once");
      },
    };
    await using serving = await serve(
      { Failing: failing, Throwing: throwing },
      {
        toStatus: (error) => ({
          code: error instanceof RuntimeError ? grpcCodeOfKind[error.kind] : codes.UNKNOWN,
          message: String(error instanceof Error ? error.message : error),
          details,
        }),
      },
    );
    using client = new ForeignClient(serving.path);
    await assert.rejects(client.unary("Failing", oneByte).answer, {
      code: codes.NOT_FOUND,
      details: 'no pod "\u00fc\n%"',
    });
    await assert.rejects(client.unary("Throwing", oneByte).answer, (error) => {
      assert.ok(error instanceof Error && "metadata" in error && "code" in error);
      assert.equal(error.code, codes.UNKNOWN);
      const metadata = error.metadata as { get: (key: string) => unknown[] };
      assert.deepEqual(metadata.get("grpc-status-details-bin"), [details]);
      return true;
    });
  });

  test("streams responses in order, also none, and a failure after some", async () => {
    const count: Method = {
      kind: "server-stream",
      async *handle(request) {
        const end = request[0] ?? 0;
        for (let i = 0; i < end; i++) yield Buffer.from([i]);
        if (end === 3) throw new RuntimeError("unavailable", "out of numbers");
      },
    };
    await using serving = await serve({ Count: count });
    using client = new ForeignClient(serving.path);
    assert.deepEqual(await client.stream("Count", Buffer.from([0])).toArray(), []);
    assert.deepEqual(
      Buffer.concat((await client.stream("Count", Buffer.from([200])).toArray()) as Buffer[]),
      Buffer.from(Array.from({ length: 200 }, (_, i) => i)),
    );
    const got: Buffer[] = [];
    await assert.rejects(
      async () => {
        for await (const message of client.stream("Count", Buffer.from([3]))) {
          got.push(message as Buffer);
        }
      },
      { code: codes.UNAVAILABLE, details: "out of numbers" },
    );
    assert.equal(got.length, 3);
  });

  test("sends the headers of a stream before its first response, if the handler asks for it", async () => {
    const gate = Promise.withResolvers<undefined>();
    const waiting: Method = {
      kind: "server-stream",
      async *handle(_request, call) {
        call.sendHeaders();
        await gate.promise;
        yield oneByte;
        call.sendHeaders();
        throw new RuntimeError("resource-exhausted", "too slow");
      },
    };
    await using serving = await serve({ Waiting: waiting });
    using client = new ForeignClient(serving.path);
    const stream = client.stream("Waiting", oneByte);
    await once(stream, "metadata");
    gate.resolve(undefined);
    await assert.rejects(stream.toArray(), {
      code: codes.RESOURCE_EXHAUSTED,
      details: "too slow",
    });
  });

  test("aborts the signal when the client cancels, and drops the late response", async () => {
    const called = Promise.withResolvers<Call>();
    const late = Promise.withResolvers<Uint8Array>();
    const ends: CallEnd[] = [];
    const method: Method = {
      kind: "unary",
      handle: (_, call) => {
        called.resolve(call);
        return late.promise;
      },
    };
    await using serving = await serve(
      { Late: method, Echo: echo },
      { onCall: () => (end) => void ends.push(end) },
    );
    using client = new ForeignClient(serving.path);
    const { answer, cancel } = client.unary("Late", oneByte);
    const call = await called.promise;
    const reason = aborted(call);
    cancel();
    await assert.rejects(answer, { code: codes.CANCELLED });
    assert.ok((await reason) instanceof RuntimeError);
    assert.equal((call.signal.reason as RuntimeError).kind, "canceled");
    late.resolve(oneByte);
    assert.deepEqual(await client.unary("Echo", oneByte).answer, oneByte);
    assert.deepEqual(
      ends.map((end) => [end.code, end.requestBytes, end.responseBytes]),
      [
        [1, 1, 0],
        [0, 1, 1],
      ],
    );
  });

  test("gives handlers the deadline, and aborts the signal when it passes", async () => {
    const { method, called } = stuck();
    await using serving = await serve({ Stuck: method });
    using client = new ForeignClient(serving.path);
    const deadline = Date.now() + 60;
    const { answer } = client.unary("Stuck", oneByte, { deadline });
    const call = await called;
    assert.ok(call.deadline !== undefined && Math.abs(call.deadline - deadline) < 50);
    assert.equal(call.method, "/test.Echo/Stuck");
    await assert.rejects(answer, { code: codes.DEADLINE_EXCEEDED });
    const reason = await aborted(call);
    // Client and server have the same deadline: either may be first.
    assert.ok(reason instanceof RuntimeError);
    assert.ok(reason.kind === "deadline-exceeded" || reason.kind === "canceled");
  });

  test("bounds the memory for a stalled reader while other calls continue", async () => {
    let produced = 0;
    const finished = Promise.withResolvers<undefined>();
    const flood: Method = {
      kind: "server-stream",
      async *handle() {
        try {
          for (;;) {
            produced += 1;
            yield Buffer.alloc(65_536);
          }
        } finally {
          finished.resolve(undefined);
        }
      },
    };
    await using serving = await serve({ Flood: flood, Echo: echo });
    using client = new ForeignClient(serving.path);
    const stream = client.stream("Flood", oneByte);
    stream.on("error", () => undefined);
    await once(stream, "readable");
    for (let i = 0; i < 300; i++) await client.unary("Echo", oneByte).answer;
    assert.ok(produced < 20, `${produced} messages of 64 KiB produced for a stalled reader`);
    stream.cancel();
    await finished.promise;
  });

  test("stop() does not wait for a peer that neither reads nor closes", async () => {
    await using serving = await serve({ Echo: echo });
    const peer = connectSocket({ path: serving.path, allowHalfOpen: true });
    // The client's preface and empty SETTINGS (RFC 9113, section 3.4); then it does nothing, like a stopped process.
    peer.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    await once(peer, "readable");
    peer.pause();
    await serving.server.stop(1);
    assert.equal(serving.server.connections, 0);
    peer.destroy();
  });

  test("stop() lets running calls end, refuses new ones, and aborts the rest", async () => {
    const gate = Promise.withResolvers<Uint8Array>();
    const called = Promise.withResolvers<undefined>();
    const slow: Method = {
      kind: "unary",
      handle: () => {
        called.resolve(undefined);
        return gate.promise;
      },
    };
    const held = stuck();
    await using serving = await serve({ Slow: slow, Stuck: held.method });
    using client = new ForeignClient(serving.path);
    const running = client.unary("Slow", oneByte).answer;
    await called.promise;
    const stopped = serving.server.stop(60_000);
    gate.resolve(Buffer.from("done"));
    assert.deepEqual(await running, Buffer.from("done"));
    await stopped;
    await assert.rejects(client.unary("Slow", oneByte).answer, { code: codes.UNAVAILABLE });

    await using second = await serve({ Stuck: held.method });
    using other = new ForeignClient(second.path);
    const lost = other.unary("Stuck", oneByte).answer;
    const call = await held.called;
    const cut = assert.rejects(lost);
    await second.server.stop(1);
    await cut;
    assert.equal(((await aborted(call)) as RuntimeError).kind, "canceled");
    assert.equal(second.server.connections, 0);
  });

  test("keeps a connection open that is pinged", async () => {
    await using serving = await serve({ Echo: echo });
    using session = rawSession(serving.path);
    await once(session, "connect");
    for (let i = 0; i < 200; i++) {
      await new Promise((resolve, reject) => {
        session.ping((error) => (error === null ? resolve(undefined) : reject(error)));
      });
    }
    assert.equal((await rawCall(session, {})).trailers["grpc-status"], "0");
  });
});
