import assert from "node:assert/strict";
import { test } from "node:test";
import { MuxStream } from "./mux-stream.ts";
import { ChunkQueue } from "./chunk-queue.ts";

test("ChunkQueue keeps the bytes and their order in few chunks", () => {
  const sizes: Readonly<Record<string, (i: number) => number>> = {
    "of one byte": () => 1,
    growing: (i) => i % 200,
    shrinking: (i) => 90 - (i % 90),
    "shrinking, then large": (i) => (i % 91 === 90 ? 4007 : 90 - (i % 91)),
    mixed: (i) => [1, 5000, 3, 64, 1, 1][i % 6] ?? 0,
  };
  for (const [what, sizeOf] of Object.entries(sizes)) {
    const chunks = new ChunkQueue();
    const sent: Buffer[] = [];
    for (let i = 0; i < 20_000; i++) {
      const chunk = Buffer.alloc(sizeOf(i), i);
      sent.push(chunk);
      chunks.push(chunk);
    }
    const all = Buffer.concat(sent);
    assert.ok(chunks.count <= all.length / 40, `${what}: ${chunks.count} chunks`);
    const got: Buffer[] = [];
    for (let next = chunks.shift(); next !== undefined; next = chunks.shift()) got.push(next);
    assert.equal(chunks.count, 0);
    assert.deepEqual(Buffer.concat(got), all, what);
  }
});

test("a MuxStream that is not read keeps few chunks, and none without bytes", () => {
  let consumed = 0;
  const stream = new MuxStream({
    send: () => undefined,
    sendEnd: () => undefined,
    consumed: (bytes) => (consumed += bytes),
    closed: () => undefined,
  });
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 1_000_000; i++) {
    assert.equal(stream.receive(Buffer.from([i])), true);
    stream.receive(Buffer.alloc(0));
  }
  const grown = process.memoryUsage().heapUsed - before;
  assert.ok(grown < 50 * 1024 * 1024, `${grown} bytes`);
  stream.destroy();
  assert.equal(consumed, 1_000_000);
});

test("ChunkQueue returns chunks while others are added", () => {
  const chunks = new ChunkQueue();
  for (let i = 0; i < 100_000; i++) {
    chunks.push(Buffer.alloc(4096, i));
    // One of each two stays in the queue.
    if (i % 2 === 1) assert.equal(chunks.shift()?.[0], ((i - 1) / 2) & 0xff);
  }
  assert.equal(chunks.count, 50_000);
});
