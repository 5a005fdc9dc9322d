import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { describe, test } from "node:test";

import { isKind } from "../base/errors.ts";
import { testOperation } from "../core/operation/testing/operation.ts";
import { TestClient } from "../core/streaming/testing/test-client.ts";
import { AttachedClients, untilAttachEnds } from "./attached-clients.ts";

describe("AttachedClients", () => {
  test("writes output to all clients that have the stream, until they leave", async () => {
    const clients = new AttachedClients("c1");
    const [both, errors] = [new TestClient(), new TestClient()];
    const [first, second] = [clients.add(both.streams()), clients.add(errors.streams("stderr"))];
    clients.write("stdout", Buffer.from("out"));
    clients.write("stderr", Buffer.from("err"));
    second[Symbol.dispose]();
    clients.write("stderr", Buffer.from(" more"));
    await untilAttachEnds(first, Promise.resolve(), testOperation());
    assert.deepEqual([both.stdout.text, both.stderr.text], ["out", "err more"]);
    assert.deepEqual([errors.stdout.text, errors.stderr.text], ["", "err"]);
  });

  test("disconnects a client that lags more than 4 MiB behind, and no other", async () => {
    const clients = new AttachedClients("c1");
    const quick = new TestClient();
    quick.stdout.keeps = false;
    // It never accepts the first chunk.
    const slow = { ...quick.streams(), stdout: new Writable({ write: () => undefined }) };
    const never = new Promise<never>(() => undefined);
    const end = untilAttachEnds(clients.add(slow), never, testOperation());
    const other = clients.add(quick.streams());
    for (let mebibyte = 0; mebibyte < 5; mebibyte++) {
      clients.write("stdout", Buffer.alloc(1024 * 1024));
    }
    await assert.rejects(end, (error) => isKind(error, "resource-exhausted"));
    await untilAttachEnds(other, Promise.resolve(), testOperation());
    assert.equal(quick.stdout.bytes, 5 * 1024 * 1024);
  });
});
