import assert from "node:assert/strict";
import { test } from "node:test";
import { DetachKeys } from "./detach-keys.ts";

function typed(...chunks: readonly string[]): readonly [string, boolean] {
  const keys = new DetachKeys();
  const passed = chunks.map((chunk) => Buffer.from(keys.take(Buffer.from(chunk))).toString());
  return [passed.join(""), keys.pressed];
}

test("DetachKeys passes everything except Ctrl-P Ctrl-Q, in chunks of any size", () => {
  assert.deepEqual(typed("ls\n"), ["ls\n", false]);
  assert.deepEqual(typed("a\u0010\u0011b"), ["a", true]);
  assert.deepEqual(typed("a\u0010", "\u0011", "b"), ["a", true]);
  assert.deepEqual(typed("\u0010", "x\u0011"), ["\u0010x\u0011", false]);
  assert.deepEqual(typed("\u0010\u0010\u0011"), ["\u0010", true]);
  assert.deepEqual(typed("\u0010"), ["", false]);
});
