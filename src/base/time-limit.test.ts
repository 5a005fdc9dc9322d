import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind, RuntimeError } from "./errors.ts";
import { withinTimeLimit } from "./time-limit.ts";

test("withinTimeLimit() returns the result of the work, and throws its errors", () => {
  assert.equal(
    withinTimeLimit(1_000, () => 7),
    7,
  );
  const error = new RuntimeError("not-found", "gone");
  assert.throws(
    () =>
      withinTimeLimit(1_000, () => {
        throw error;
      }),
    error,
  );
});

test("withinTimeLimit() interrupts a backtracking regular expression, and works afterwards", () => {
  // About 2^50 steps.
  const never = (): boolean => /^(a+)+$/.test(`${"a".repeat(50)}!`);
  for (let time = 0; time < 2; time++) {
    assert.throws(
      () => withinTimeLimit(10, never),
      (thrown) => isKind(thrown, "deadline-exceeded"),
    );
    assert.equal(
      withinTimeLimit(1_000, () => /^a+$/.test("aaa")),
      true,
    );
  }
});
