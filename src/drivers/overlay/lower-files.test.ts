import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { LookupBudget } from "./lower-files.ts";

test("LookupBudget ends after so many lookups, and with its signal", () => {
  const budget = new LookupBudget(new AbortController().signal, 3);
  for (let at = 0; at < 3; at++) budget.spend();
  assert.throws(
    () => budget.spend(),
    (error) => isKind(error, "failed-precondition") && /too many lookups/.test(String(error)),
  );
  const ended = new LookupBudget(AbortSignal.abort(new Error("ended")), 3);
  assert.throws(() => ended.spend(), /ended/);
});
