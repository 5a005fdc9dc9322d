import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "./stream.ts";

test("an Inbox that is not read fails when it is full, also with empty messages", async () => {
  for (const size of [0, 1, 1024 * 1024]) {
    const inbox = new Inbox();
    let taken = 0;
    while (inbox.push(new Uint8Array(size))) {
      taken += 1;
      assert.ok(taken < 100_000, `${taken} messages of ${size} bytes`);
    }
    let read = 0;
    await assert.rejects(
      async () => {
        for await (const message of inbox) read += message.length === size ? 1 : 0;
      },
      { kind: "resource-exhausted" },
    );
    assert.equal(read, taken);
  }
});

test("an Inbox accepts any number of messages that are read", async () => {
  const inbox = new Inbox();
  const messages = inbox[Symbol.asyncIterator]();
  for (let i = 0; i < 50_000; i++) {
    assert.equal(inbox.push(Buffer.from([i & 0xff])), true);
    assert.deepEqual((await messages.next()).value, Buffer.from([i & 0xff]));
  }
});
