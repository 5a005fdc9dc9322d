import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatAge,
  formatBytes,
  formatCpu,
  formatDuration,
  formatOperation,
  plainText,
} from "./format.ts";

test("figures are short", () => {
  assert.deepEqual([0, 999, 1000, 4_321_000, 123_456_789].map(formatBytes), [
    "0 B",
    "999 B",
    "1.0 kB",
    "4.3 MB",
    "123 MB",
  ]);
  assert.deepEqual([0, 12.4, 9_240, 125_000, 7_300_000, 3e8].map(formatDuration), [
    "<1 ms",
    "12 ms",
    "9.2 s",
    "2 min",
    "2 h",
    "3 d",
  ]);
  assert.deepEqual([undefined, 0.0312, 1.4].map(formatCpu), ["–", "3.1%", "140%"]);
  assert.deepEqual([formatAge(0, 5_900), formatAge(9, 0)], ["5 s", "0 s"]);
});

test("formatOperation() is the name of the call", () => {
  assert.equal(formatOperation({ operation: "run-pod-sandbox" }), "RunPodSandbox");
});

test("plainText() leaves text as it is and drops what moves a cursor", () => {
  assert.equal(plainText("\u001b[1;31mred\u001b[0m\ttab"), "red\ttab");
  assert.equal(plainText("\u001b]0;title\u0007a\rb\u0000"), "a·b·");
  assert.equal(plainText("<b>ü</b>"), "<b>ü</b>");
});
