import assert from "node:assert/strict";
import { test } from "node:test";
import { frameDifference } from "./session.ts";

test("frameDifference() writes only the lines that have changed", () => {
  assert.equal(frameDifference(["a", "b", "c"], ["a", "b", "c"]), "");
  assert.equal(frameDifference(["a", "b", "c"], ["a", "x", "c"]), "\u001b[2;1H\u001b[0m\u001b[Kx");
  assert.equal(frameDifference(["a", "b", "c"], ["a"]), "\u001b[2;1H\u001b[J");
  assert.equal(
    frameDifference([], ["a", ""]),
    "\u001b[1;1H\u001b[0m\u001b[Ka\u001b[2;1H\u001b[0m\u001b[K",
  );
});
