import assert from "node:assert/strict";
import { test } from "node:test";
import { releaseTransferred, markTransferable } from "./transferable.ts";

const bytes = 64 * 1024;

test("releaseTransferred() frees a marked chunk once", () => {
  const chunk = Buffer.from(new ArrayBuffer(bytes));
  markTransferable(chunk);
  assert.equal(chunk.length, bytes);
  releaseTransferred(chunk);
  assert.equal(chunk.length, 0);
  releaseTransferred(chunk);
});

test("releaseTransferred() does not change unmarked chunks, parts of chunks, and small chunks", () => {
  const own = Buffer.from(new ArrayBuffer(bytes));
  releaseTransferred(own);
  assert.equal(own.length, bytes);

  markTransferable(own);
  const part = own.subarray(1);
  releaseTransferred(part);
  assert.equal(part.length, bytes - 1);

  const whole = Buffer.from(new ArrayBuffer(bytes));
  markTransferable(whole.subarray(1));
  releaseTransferred(whole);
  assert.equal(whole.length, bytes);

  const small = Buffer.from(new ArrayBuffer(100));
  markTransferable(small);
  releaseTransferred(small);
  assert.equal(small.length, 100);
});

test("releaseTransferred() never throws, for any kind of memory", () => {
  // Node.js does not allow a transfer of its buffer pool.
  const pool = Buffer.from(Buffer.from("x").buffer);
  markTransferable(pool);
  releaseTransferred(pool);
  assert.ok(pool.length > 0);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes));
  markTransferable(shared);
  releaseTransferred(shared);
  assert.equal(shared.length, bytes);
});
