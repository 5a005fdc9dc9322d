import assert from "node:assert/strict";
import { test } from "node:test";
import { expandVariables } from "./expand.ts";
import { parseQuantity } from "./quantity.ts";

test("parseQuantity() parses quantities of Kubernetes, and nothing else", () => {
  for (const [text, value] of [
    ["100m", 0.1],
    ["2", 2],
    ["1.5", 1.5],
    ["64Mi", 64 * 2 ** 20],
    ["1k", 1000],
    ["1Ki", 1024],
    ["2e3", 2000],
    ["1G", 1e9],
    ["", undefined],
    ["Mi", undefined],
    ["1 Mi", undefined],
    ["-1", undefined],
    ["1mi", undefined],
    ["1KI", undefined],
  ] as const) {
    assert.equal(parseQuantity(text), value, text);
  }
});

test("expandVariables() replaces the same references as Kubernetes", () => {
  const variables = new Map([
    ["A", "1"],
    ["B", "$(A)"],
  ]);
  for (const [text, expected] of [
    ["x$(A)y$(A)", "x1y1"],
    ["$(C) $(A", "$(C) $(A"],
    ["$$(A) $$$(A) $", "$(A) $1 $"],
    ["$(B)", "$(A)"],
    ["$A ${A}", "$A ${A}"],
  ] as const) {
    assert.equal(expandVariables(text, variables), expected);
  }
});
