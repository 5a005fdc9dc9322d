// The memory of requests that clients do not end.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { test } from "node:test";

import { GrpcClient } from "./client.ts";
import { frame } from "./codec.ts";
import { echo, echoPath, serve } from "./testing/serving.ts";

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
  // When they are gone, their memory is free.
  session.destroy();
  await once(session, "close");
  using client = new GrpcClient({ path: serving.path });
  for (let count = 0; count < 10; count++) {
    const answer = await client.unary(echoPath("Echo"), Buffer.alloc(mebibyte));
    assert.equal(answer.length, mebibyte);
  }
});
