import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import { test } from "node:test";
import { markTransferable } from "../../base/transferable.ts";
import { Outbox } from "./outbox.ts";

const bytes = 64 * 1024;

/** Both ends of a TCP connection, and a function that closes the listener. */
async function socketPair(): Promise<{ near: Socket; far: Socket; close: () => void }> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const near = connect(address.port, "127.0.0.1");
  const [far] = (await once(server, "connection")) as [Socket];
  return { near, far, close: () => server.close() };
}

function chunkOf(index: number): Buffer {
  const chunk = Buffer.from(new ArrayBuffer(bytes));
  return chunk.fill(index + 1);
}

function send(outbox: Outbox, part: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    outbox.send([Buffer.from("head"), part], (error) => {
      if (error === undefined) resolve();
      else reject(error);
    });
  });
}

async function digestOf(stream: Duplex): Promise<string> {
  const digest = createHash("sha256");
  for await (const chunk of stream) digest.update(chunk as Buffer);
  return digest.digest("hex");
}

test("frees transferable chunks when a socket has written them, and not earlier", async () => {
  const { near, far, close } = await socketPair();
  const outbox = new Outbox(near);
  const expected = createHash("sha256");
  const given: Buffer[] = [];
  // More than the kernel buffers, and there is no reader yet: the last ones wait in the socket.
  const sent: Promise<void>[] = [];
  for (let index = 0; index < 200; index++) {
    const chunk = chunkOf(index);
    expected.update("head").update(chunk);
    markTransferable(chunk);
    given.push(chunk);
    sent.push(send(outbox, chunk));
  }
  const kept = chunkOf(200);
  expected.update("head").update(kept);
  sent.push(send(outbox, kept));
  assert.ok(given.every((chunk) => chunk.length === bytes));

  const arrived = digestOf(far);
  await Promise.all(sent);
  near.end();
  assert.equal(await arrived, expected.digest("hex"));
  await once(near, "close");
  assert.ok(given.every((chunk) => chunk.length === 0));
  assert.equal(kept.length, bytes);
  close();
});

test("frees nothing on a connection that passes its chunks on", async () => {
  const [near, far] = duplexPair();
  const chunk = chunkOf(0);
  markTransferable(chunk);
  const arrived = digestOf(far);
  await send(new Outbox(near), chunk);
  near.end();
  far.end();
  await arrived;
  assert.equal(chunk.length, bytes);
});
