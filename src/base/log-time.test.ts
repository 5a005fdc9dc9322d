import assert from "node:assert/strict";
import { test } from "node:test";
import { formatLogTime, parseLogTime } from "./log-time.ts";

test("formatLogTime() has nine digits in UTC", () => {
  assert.equal(formatLogTime(1_000_000_007n), "1970-01-01T00:00:01.000000007Z");
});

test("parseLogTime() reads what runtimes write, to the nanosecond", () => {
  for (const [text, ns] of [
    ["1970-01-01T00:00:01.000000007Z", 1_000_000_007n],
    ["1970-01-01T02:00:01.000000007+02:00", 1_000_000_007n],
    ["1969-12-31T23:30:01.5-00:30", 1_500_000_000n],
    ["2026-01-31T12:00:00Z", BigInt(Date.UTC(2026, 0, 31, 12)) * 1_000_000n],
  ] as const) {
    assert.equal(parseLogTime(text), ns, text);
  }
  for (const bad of [
    "",
    "Z",
    "now",
    "1969-12-31T23:59:59Z",
    "2026-13-01T00:00:00Z",
    "2026-01-31T12:00:00",
    "2026-01-31T12:00:00.0000000001Z",
    "2026-01-31 12:00:00Z",
  ]) {
    assert.equal(parseLogTime(bad), undefined, bad);
  }
});
