// The memory of requests that clients do not end.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { test } from "node:test";

import { clientGreeting, dataFrame, rawFrame, requestFrame } from "../http2/testing/raw-client.ts";
import { GrpcClient } from "./client.ts";
import { frame } from "./codec.ts";
import { echo, echoPath, serve } from "./testing/serving.ts";
import { heldBytes } from "../testing/held-bytes.ts";

test("a complete request counts until its stream ends", async () => {
  const mebibyte = 1024 * 1024;
  await using serving = await serve({ Echo: echo }, { maxMessageBytes: mebibyte });
  const session = connect("http://localhost", {
    createConnection: () => connectSocket(serving.path),
  });
  const headers = {
    ":method": "POST",
    ":path": echoPath("Echo"),
    "content-type": "application/grpc",
  };
  const answers: Promise<unknown>[] = [];
  // The server accepts 8 of the largest messages. None of these streams ends.
  for (let count = 0; count < 9; count++) {
    const stream = session.request(headers);
    stream.on("error", () => undefined);
    stream.resume();
    answers.push(once(stream, "response"));
    stream.write(frame(Buffer.alloc(mebibyte)));
  }
  const [response] = (await Promise.any(answers)) as [Record<string, unknown>];
  assert.equal(response["grpc-status"], "8");
  assert.match(String(response["grpc-message"]), /too many large requests/);
  // A small request of another client is served meanwhile.
  using other = new GrpcClient({ path: serving.path });
  const small = Buffer.alloc(100);
  for (let count = 0; count < 10; count++) {
    assert.equal((await other.unary(echoPath("Echo"), small)).length, small.length);
  }
  // When they are gone, their memory is free.
  session.destroy();
  await once(session, "close");
  using client = new GrpcClient({ path: serving.path });
  for (let count = 0; count < 10; count++) {
    const answer = await client.unary(echoPath("Echo"), Buffer.alloc(mebibyte));
    assert.equal(answer.length, mebibyte);
  }
});

test("a small request without end does not keep the chunk in which it arrived", async () => {
  await using serving = await serve({ Echo: echo });
  const socket = connectSocket(serving.path);
  socket.resume();
  socket.write(clientGreeting);
  const fields = [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", echoPath("Echo")],
    ["content-type", "application/grpc"],
  ] as const;
  const filler = rawFrame(99, 0, 0, Buffer.alloc(16_000));
  const before = await heldBytes();
  for (let id = 1; id < 1000; id += 2) {
    const request = [
      requestFrame(id, false, fields),
      dataFrame(id, frame(Buffer.alloc(1))),
      filler,
      filler,
    ];
    if (!socket.write(Buffer.concat(request))) await once(socket, "drain");
  }
  using client = new GrpcClient({ path: serving.path });
  await client.unary(echoPath("Echo"), Buffer.alloc(1));
  const grown = (await heldBytes()) - before;
  assert.ok(grown < 8 * 1024 * 1024, `${grown} bytes for 500 requests of a byte`);
  assert.equal(serving.server.connections, 2);
  socket.destroy();
});
