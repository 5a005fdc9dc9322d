import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { LookupBudget } from "./lower-files.ts";

test("LookupBudget ends after so many lookups, and with its signal", () => {
  const budget = new LookupBudget(new AbortController().signal, 3);
  for (let at = 0; at < 3; at++) budget.spend(100);
  assert.throws(
    () => budget.spend(1),
    (error) => isKind(error, "failed-precondition") && /too many lookups/.test(String(error)),
  );
  const ended = new LookupBudget(AbortSignal.abort(new Error("ended")), 3);
  assert.throws(() => ended.spend(1), /ended/);
});

test("LookupBudget counts a long path as several lookups", () => {
  const budget = new LookupBudget(new AbortController().signal, 18);
  for (let at = 0; at < 2; at++) budget.spend(2048);
  assert.throws(
    () => budget.spend(1),
    (error) => isKind(error, "failed-precondition"),
  );
});
