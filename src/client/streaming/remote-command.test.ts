import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { formatStatus } from "../../wire/remote-command/status.ts";
import { dataHead, resetFrame, synReplyFrame } from "../../wire/spdy/frames.ts";
import { HeaderWriter } from "../../wire/spdy/headers.ts";
import { SpdySession } from "../../wire/spdy/session.ts";
import { endOf } from "./remote-command.ts";

/** The end that a client reads when the server sends this text and then resets the stream. */
async function endBeforeReset(said: string): ReturnType<typeof endOf> {
  const [transport, server] = duplexPair();
  const session = new SpdySession({ transport, role: "client", lingerMs: 0 });
  const opening = session.openStream(new Map([["streamtype", "error"]]));
  server.resume();
  server.write(synReplyFrame(1, new HeaderWriter().write(new Map())));
  const stream = await opening;
  const words = Buffer.from(said);
  const data = words.length === 0 ? [] : [dataHead(1, words.length, false), words];
  server.write(Buffer.concat([...data, resetFrame(1, 5)]));
  try {
    // Everything has arrived before the first read.
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(session.streamCount, 0);
    return await endOf(stream, true);
  } finally {
    session.destroy();
  }
}

test("endOf() reads a status that is followed by a reset at once, as containerd sends it", async () => {
  assert.deepEqual(await endBeforeReset(formatStatus({ exitCode: 0 })), { exitCode: 0 });
  assert.deepEqual(await endBeforeReset(formatStatus({ exitCode: 7 })), { exitCode: 7 });
});

test("endOf() rejects a reset without a status, or with an incomplete one", async () => {
  await assert.rejects(endBeforeReset(""), /before the end of the command/);
  await assert.rejects(endBeforeReset(formatStatus({ exitCode: 7 }).slice(0, 20)));
});
