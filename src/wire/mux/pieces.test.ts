import assert from "node:assert/strict";
import { test } from "node:test";
import { MuxStream } from "./mux-stream.ts";
import { Pieces } from "./pieces.ts";

test("Pieces keeps the bytes and their order, in few pieces", () => {
  const sizes: Readonly<Record<string, (i: number) => number>> = {
    "of one byte": () => 1,
    growing: (i) => i % 200,
    shrinking: (i) => 90 - (i % 90),
    "shrinking, then large": (i) => (i % 91 === 90 ? 4007 : 90 - (i % 91)),
    mixed: (i) => [1, 5000, 3, 64, 1, 1][i % 6] ?? 0,
  };
  for (const [what, sizeOf] of Object.entries(sizes)) {
    const pieces = new Pieces();
    const sent: Buffer[] = [];
    for (let i = 0; i < 20_000; i++) {
      const piece = Buffer.alloc(sizeOf(i), i);
      sent.push(piece);
      pieces.push(piece);
    }
    const all = Buffer.concat(sent);
    assert.ok(pieces.count <= all.length / 40, `${what}: ${pieces.count} pieces`);
    const got: Buffer[] = [];
    for (let next = pieces.shift(); next !== undefined; next = pieces.shift()) got.push(next);
    assert.equal(pieces.count, 0);
    assert.deepEqual(Buffer.concat(got), all, what);
  }
});

test("a MuxStream that nobody reads holds few pieces, and none without bytes", () => {
  let taken = 0;
  const stream = new MuxStream({
    send: () => undefined,
    sendEnd: () => undefined,
    taken: (bytes) => (taken += bytes),
    gone: () => undefined,
  });
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 1_000_000; i++) {
    assert.equal(stream.receive(Buffer.from([i])), true);
    stream.receive(Buffer.alloc(0));
  }
  const grown = process.memoryUsage().heapUsed - before;
  assert.ok(grown < 50 * 1024 * 1024, `${grown} bytes`);
  stream.destroy();
  assert.equal(taken, 1_000_000);
});

test("Pieces gives pieces away while others come", () => {
  const pieces = new Pieces();
  for (let i = 0; i < 100_000; i++) {
    pieces.push(Buffer.alloc(4096, i));
    // One stays behind for each two that come.
    if (i % 2 === 1) assert.equal(pieces.shift()?.[0], ((i - 1) / 2) & 0xff);
  }
  assert.equal(pieces.count, 50_000);
});
