import assert from "node:assert/strict";
import { test } from "node:test";
import { Gatherer } from "./gatherer.ts";

test("Gatherer adds bytes up to the total, in chunks of any size", () => {
  const sent = Buffer.from(Array.from({ length: 20_000 }, (_, i) => i & 0xff));
  for (const piece of [1, 7, 4096, 6000, 30_000]) {
    const gatherer = new Gatherer();
    for (let at = 0; at < sent.length; at += piece) {
      const chunk = Buffer.concat([sent.subarray(at, at + piece), Buffer.from("next")]);
      const missing = sent.length - at;
      assert.equal(gatherer.fill(chunk, at + Math.min(piece, missing)), Math.min(piece, missing));
    }
    assert.equal(gatherer.length, sent.length);
    assert.equal(gatherer.uint32At(4), 0x04050607);
    assert.equal(gatherer.byteAt(300), 300 & 0xff);
    assert.deepEqual(gatherer.take(), sent);
    assert.equal(gatherer.length, 0);
  }
});

test("Gatherer allocates no memory for an announced length alone", () => {
  const before = process.memoryUsage().arrayBuffers;
  const gatherers = Array.from({ length: 100 }, () => {
    const gatherer = new Gatherer();
    gatherer.fill(Buffer.from("x"), 16 * 1024 * 1024);
    return gatherer;
  });
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
  assert.equal(gatherers[99]?.length, 1);
});
