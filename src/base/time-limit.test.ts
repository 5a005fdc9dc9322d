import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind, RuntimeError } from "./errors.ts";
import { withinTimeLimit } from "./time-limit.ts";

test("withinTimeLimit() gives what the work returns, and its errors", () => {
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

test("withinTimeLimit() ends a regular expression that backtracks, and is whole after that", () => {
  // Some 2^50 steps.
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
