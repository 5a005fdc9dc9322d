import assert from "node:assert/strict";
import { test } from "node:test";
import { editDistance, nearest } from "./nearest.ts";

test("editDistance() counts insertions, deletions, substitutions and swaps", () => {
  assert.equal(editDistance("", "abc"), 3);
  assert.equal(editDistance("abc", ""), 3);
  assert.equal(editDistance("abc", "abc"), 0);
  assert.equal(editDistance("kitten", "sitting"), 3);
  assert.equal(editDistance("levle", "level"), 1);
});

test("nearest() gives the closest word, and none when all are too different", () => {
  assert.equal(nearest("srve", ["serve", "version", "config"]), "serve");
  assert.equal(nearest("pods", ["serve", "version", "config"]), undefined);
  assert.equal(nearest("xy", ["a", "ab"]), undefined);
  // In no time: it used to take a minute.
  assert.equal(nearest("x".repeat(262_144), ["override_path"]), undefined);
});
