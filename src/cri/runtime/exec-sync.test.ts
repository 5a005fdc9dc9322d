import assert from "node:assert/strict";
import { test } from "node:test";
import { cutToFit } from "./exec-sync.ts";

const lengths = (stdout: number, stderr: number, room: number): readonly [number, number] => {
  const streams = { stdout: new Uint8Array(stdout), stderr: new Uint8Array(stderr), exitCode: 0 };
  const cut = cutToFit(streams, room);
  return [cut.stdout.length, cut.stderr.length];
};

test("cutToFit() keeps what fits, and gives each stream half and what the other does not use", () => {
  assert.deepEqual(lengths(6, 4, 10), [6, 4]);
  assert.deepEqual(lengths(20, 0, 10), [10, 0]);
  assert.deepEqual(lengths(0, 20, 10), [0, 10]);
  assert.deepEqual(lengths(20, 3, 10), [7, 3]);
  assert.deepEqual(lengths(3, 20, 10), [3, 7]);
  assert.deepEqual(lengths(20, 20, 11), [6, 5]);
});
