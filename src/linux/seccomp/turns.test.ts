import assert from "node:assert/strict";
import { test } from "node:test";
import { Turns } from "./turns.ts";

test("Turns says when the turns of an interval are used up, and has new ones in the next", () => {
  const turns = new Turns(3, 100);
  assert.deepEqual(
    [0, 10, 20, 99].map((nowMs) => turns.take(nowMs)),
    [true, true, false, false],
  );
  assert.deepEqual(
    [100, 110, 199, 200].map((nowMs) => turns.take(nowMs)),
    [true, true, false, true],
  );
});
