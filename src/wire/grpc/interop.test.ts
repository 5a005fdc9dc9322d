// Clients of three implementations on one server at the same time: grpc-js, davit's own and node:http2. What each of
// them does is in the other tests; here they mix, cancel and disconnect.
import assert from "node:assert/strict";
import { test } from "node:test";

import { chooseSeed, Random } from "../../../test/support/random.ts";
import { patient } from "../../../test/support/patience.ts";
import type { CallEnd, Method } from "./call.ts";
import { GrpcClient } from "./client.ts";
import { frame } from "./codec.ts";
import { rawCall, rawSession } from "./testing/raw-calls.ts";
import { echo, echoPath, ForeignClient, serve } from "./testing/serving.ts";

/** Answers with as many messages as the first byte says, of the size of the request. */
const repeat: Method = {
  kind: "server-stream",
  async *handle(request) {
    for (let count = request[0] ?? 0; count > 0; count--) yield request;
  },
};
/** Waits until its caller leaves. */
const waiting: Method = {
  kind: "unary",
  handle: (_, call) =>
    new Promise((_resolve, reject) => {
      call.signal.addEventListener("abort", () => reject(call.signal.reason as Error));
    }),
};

test("clients of three implementations at once get their answers, and no call is left", {
  timeout: patient(120_000),
}, async (context) => {
  const seed = chooseSeed();
  context.diagnostic(`DAVIT_TEST_SEED=${seed} repeats this`);
  let open = 0;
  let ended = 0;
  const onCall = (): ((end: CallEnd) => void) => {
    open += 1;
    return () => {
      open -= 1;
      ended += 1;
    };
  };
  await using serving = await serve({ Echo: echo, Repeat: repeat, Waiting: waiting }, { onCall });
  const { path } = serving;

  const body = (random: Random): Buffer =>
    Buffer.alloc(random.spread(1, 200_000), random.between(1, 9));

  async function own(random: Random, client: GrpcClient): Promise<void> {
    const request = body(random);
    const kind = random.between(0, 3);
    if (kind === 0) {
      let count = 0;
      for await (const message of client.serverStream(echoPath("Repeat"), request)) {
        assert.equal(message.length, request.length);
        if (++count === 3) break;
      }
      assert.equal(count, Math.min(3, request[0] ?? 0));
    } else if (kind === 1) {
      const timeoutMs = random.between(1, 20);
      await assert.rejects(client.unary(echoPath("Waiting"), request, { timeoutMs }));
    } else {
      const answer = await client.unary(echoPath("Echo"), request, { timeoutMs: 60_000 });
      assert.ok(Buffer.from(answer).equals(request));
    }
  }

  async function foreign(random: Random, client: ForeignClient): Promise<void> {
    const request = body(random);
    const kind = random.between(0, 3);
    if (kind === 0) {
      const stream = client.stream("Repeat", request);
      let count = 0;
      for await (const message of stream) {
        assert.equal((message as Buffer).length, request.length);
        count += 1;
      }
      assert.equal(count, request[0]);
    } else if (kind === 1) {
      const { answer, cancel } = client.unary("Waiting", request);
      setTimeout(cancel, random.between(0, 20));
      await assert.rejects(answer, /CANCELLED/);
    } else {
      const { answer } = client.unary("Echo", request, { deadline: Date.now() + 60_000 });
      assert.ok((await answer).equals(request));
    }
  }

  async function raw(random: Random): Promise<void> {
    using session = rawSession(path);
    const request = body(random);
    const { messages, trailers } = await rawCall(session, {}, frame(request));
    assert.equal(trailers["grpc-status"], "0");
    assert.ok(messages[0]?.equals(request));
    if (random.chance(0.5)) return;
    // Leaves while its call runs.
    const stream = session.request({
      ":method": "POST",
      ":path": echoPath("Waiting"),
      "content-type": "application/grpc",
    });
    stream.on("error", () => undefined);
    const part = frame(request).subarray(0, random.between(0, request.length));
    await new Promise((resolve) => stream.write(part, resolve));
  }

  {
    using client = new GrpcClient({ path });
    using other = new ForeignClient(path);
    await Promise.all(
      Array.from({ length: 24 }, async (_, index) => {
        const random = new Random(seed).fork(index);
        for (let call = 0; call < 12; call++) {
          if (index % 3 === 0) await own(random, client);
          else if (index % 3 === 1) await foreign(random, other);
          else await raw(random);
        }
      }),
    );
  }
  while (open > 0 || serving.server.connections > 0) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(ended >= 24 * 12, `${ended} calls`);
});
