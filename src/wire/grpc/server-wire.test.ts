// What a GrpcServer answers to the headers and the bytes of a client that is not a gRPC library.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { connect } from "node:net";
import { describe, test } from "node:test";

import type { RuntimeError } from "../../base/errors.ts";
import type { HeaderField } from "../http2/hpack/index.ts";
import { clientGreeting, dataFrame, requestFrame } from "../http2/testing/raw-client.ts";
import type { Method } from "./call.ts";
import { frame } from "./codec.ts";
import { aborted, oneByte, rawCall, rawSession, stuck } from "./testing/raw-calls.ts";
import { echo, echoPath, serve } from "./testing/serving.ts";

describe("GrpcServer on the wire", () => {
  test("accepts the authorities that gRPC clients send for a unix socket", async () => {
    await using serving = await serve({ Echo: echo });
    using session = rawSession(serving.path);
    for (const authority of ["localhost", "%2Frun%2Fdavit.sock", "davit"]) {
      const answer = await rawCall(session, { ":authority": authority });
      assert.equal(answer.trailers["grpc-status"], "0", authority);
      assert.deepEqual(answer.messages, [oneByte]);
    }
  });

  test("accepts an authority that is missing, empty or a path, as of old versions of grpc-go", async () => {
    await using serving = await serve({ Echo: echo });
    for (const authority of [undefined, "", "/run/davit.sock", "unix:/run/davit.sock", "a b"]) {
      const socket = connect(serving.path);
      const fields: HeaderField[] = [
        [":method", "POST"],
        [":scheme", "http"],
        [":path", echoPath("Echo")],
        ["content-type", "application/grpc"],
      ];
      if (authority !== undefined) fields.splice(3, 0, [":authority", authority]);
      socket.write(
        Buffer.concat([
          clientGreeting,
          requestFrame(1, false, fields),
          dataFrame(1, frame(oneByte), true),
        ]),
      );
      let answer = "";
      while (!answer.includes("grpc-status\x010")) {
        const [chunk] = (await once(socket, "data")) as [Buffer];
        answer += chunk.toString("latin1");
      }
      socket.destroy();
    }
  });

  test("responds at the deadline while the handler still runs", async () => {
    const { method, called } = stuck();
    await using serving = await serve({ Echo: method });
    using session = rawSession(serving.path);
    const answer = await rawCall(session, { "grpc-timeout": "20m" });
    assert.equal(answer.headers["grpc-status"], "4");
    assert.match(String(answer.headers["grpc-message"]), /deadline has passed/);
    const call = await called;
    assert.equal((call.signal.reason as RuntimeError).kind, "deadline-exceeded");
  });

  test("ends a stream at the deadline, whether the client reads or not", async () => {
    const drip: Method = {
      kind: "server-stream",
      async *handle(_, call) {
        yield oneByte;
        await aborted(call);
      },
    };
    const flood: Method = {
      kind: "server-stream",
      async *handle() {
        for (;;) yield Buffer.alloc(65_536);
      },
    };
    await using serving = await serve({ Drip: drip, Flood: flood });
    using session = rawSession(serving.path);
    const answer = await rawCall(session, { ":path": echoPath("Drip"), "grpc-timeout": "20m" });
    assert.deepEqual(answer.messages, [oneByte]);
    assert.equal(answer.trailers["grpc-status"], "4");

    const stalled = session.request({
      ":method": "POST",
      ":path": echoPath("Flood"),
      "content-type": "application/grpc",
      "grpc-timeout": "20m",
    });
    stalled.end(frame(oneByte));
    await once(stalled, "close");
    assert.equal(stalled.rstCode, constants.NGHTTP2_CANCEL);
  });

  test("rejects requests that are not gRPC with an HTTP status", async () => {
    await using serving = await serve({ Echo: echo });
    using session = rawSession(serving.path);
    const typed = await rawCall(session, { "content-type": "application/json" });
    assert.equal(typed.headers[":status"], 415);
    const web = await rawCall(session, { "content-type": "application/grpc-web" });
    assert.equal(web.headers[":status"], 415);
    assert.equal((await rawCall(session, { ":method": "PUT" })).headers[":status"], 405);
    const proto = await rawCall(session, { "content-type": "application/grpc+proto" });
    assert.equal(proto.trailers["grpc-status"], "0");
  });

  test("rejects malformed requests with the codes of the gRPC protocol", async () => {
    await using serving = await serve({ Echo: echo });
    using session = rawSession(serving.path);
    const one = frame(oneByte);
    const refusals: readonly (readonly [Record<string, string>, Buffer, string])[] = [
      [{}, Buffer.alloc(0), "12"],
      [{}, Buffer.concat([one, one]), "12"],
      [{}, Buffer.from([1, 0, 0, 0, 0]), "12"],
      [{ "grpc-encoding": "gzip" }, one, "12"],
      [{}, one.subarray(0, 5), "13"],
      [{}, Buffer.from([9, 0, 0, 0, 0]), "13"],
      [{}, Buffer.from([0, 255, 255, 255, 255]), "8"],
      [{ "grpc-timeout": "soon" }, one, "3"],
    ];
    for (const [headers, body, code] of refusals) {
      const answer = await rawCall(session, headers, body);
      assert.equal(answer.headers["grpc-status"], code, JSON.stringify([headers, body]));
    }
    const gzip = await rawCall(session, { "grpc-encoding": "gzip" });
    assert.equal(gzip.headers["grpc-accept-encoding"], "identity");
    assert.equal((await rawCall(session, {})).trailers["grpc-status"], "0");
  });

  test("treats a reset with any code as a cancellation, and continues", async () => {
    const calls: Promise<unknown>[] = [];
    const seen = Promise.withResolvers<undefined>();
    const method: Method = {
      kind: "unary",
      handle: (_, call) => {
        calls.push(aborted(call));
        if (calls.length === 3) seen.resolve(undefined);
        return new Promise<never>(() => undefined);
      },
    };
    await using serving = await serve({ Stuck: method, Echo: echo });
    using session = rawSession(serving.path);
    const streams = [0, 1, 2].map(() => {
      const stream = session.request({
        ":method": "POST",
        ":path": echoPath("Stuck"),
        "content-type": "application/grpc",
      });
      stream.on("error", () => undefined);
      stream.end(frame(oneByte));
      return stream;
    });
    await seen.promise;
    streams[0]?.close(constants.NGHTTP2_CANCEL);
    streams[1]?.close(constants.NGHTTP2_INTERNAL_ERROR);
    streams[2]?.close(constants.NGHTTP2_NO_ERROR);
    for (const reason of await Promise.all(calls)) {
      assert.equal((reason as RuntimeError).kind, "canceled");
    }
    assert.equal((await rawCall(session, {})).trailers["grpc-status"], "0");
  });
});
