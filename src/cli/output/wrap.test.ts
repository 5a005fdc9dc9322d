import assert from "node:assert/strict";
import { test } from "node:test";
import { wrapWords } from "./wrap.ts";

test("wrapWords() breaks at spaces and fills each line as far as it goes", () => {
  assert.deepEqual(wrapWords("one two three four", 9), ["one two", "three", "four"]);
  assert.deepEqual(wrapWords("one two three", 13), ["one two three"]);
  assert.deepEqual(wrapWords("a  b", 10), ["a  b"]);
});

test("wrapWords() leaves a long word whole, and has a line for an empty text", () => {
  assert.deepEqual(wrapWords("see /a/very/long/path now", 8), ["see", "/a/very/long/path", "now"]);
  assert.deepEqual(wrapWords("", 8), [""]);
  assert.deepEqual(wrapWords("x y", Number.POSITIVE_INFINITY), ["x y"]);
});
