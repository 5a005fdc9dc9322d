import assert from "node:assert/strict";
import { test } from "node:test";
import { freeGiven, giveAway } from "./given-memory.ts";

const bytes = 64 * 1024;

test("freeGiven() frees what was given away, once", () => {
  const chunk = Buffer.from(new ArrayBuffer(bytes));
  giveAway(chunk);
  assert.equal(chunk.length, bytes);
  freeGiven(chunk);
  assert.equal(chunk.length, 0);
  freeGiven(chunk);
});

test("freeGiven() leaves alone what was not given, parts, and what is small", () => {
  const own = Buffer.from(new ArrayBuffer(bytes));
  freeGiven(own);
  assert.equal(own.length, bytes);

  giveAway(own);
  const part = own.subarray(1);
  freeGiven(part);
  assert.equal(part.length, bytes - 1);

  const whole = Buffer.from(new ArrayBuffer(bytes));
  giveAway(whole.subarray(1));
  freeGiven(whole);
  assert.equal(whole.length, bytes);

  const small = Buffer.from(new ArrayBuffer(100));
  giveAway(small);
  freeGiven(small);
  assert.equal(small.length, 100);
});

test("freeGiven() never throws, whatever memory it is", () => {
  // Node's pool refuses to be taken from it.
  const pool = Buffer.from(Buffer.from("x").buffer);
  giveAway(pool);
  freeGiven(pool);
  assert.ok(pool.length > 0);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes));
  giveAway(shared);
  freeGiven(shared);
  assert.equal(shared.length, bytes);
});
