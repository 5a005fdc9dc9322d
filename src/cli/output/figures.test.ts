import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAge, formatBytes, formatDuration, formatLocalTime, shortId } from "./figures.ts";

test("formatDuration() prints two or three significant digits", () => {
  const shown = [0.42, 12.3, 999, 1000, 59_900, 90_000, 7_200_000, 86_400_000 * 3];
  assert.deepEqual(shown.map(formatDuration), [
    "0.4 ms",
    "12 ms",
    "999 ms",
    "1.0 s",
    "59.9 s",
    "2 min",
    "2 h",
    "3 days",
  ]);
});

test("formatBytes() prints two or three significant digits", () => {
  const shown = [0, 999, 1000, 4321, 99_400, 99_600, 999_499, 999_999, 12_345_678, 5n * 10n ** 15n];
  assert.deepEqual(shown.map(formatBytes), [
    "0B",
    "999B",
    "1.0kB",
    "4.3kB",
    "99.4kB",
    "100kB",
    "999kB",
    "1.0MB",
    "12.3MB",
    "5000TB",
  ]);
});

test("formatAge() reads the CRI's nanoseconds, and returns nothing for zero", () => {
  assert.equal(formatAge(1_000_000_000n, 13_900), "12 s ago");
  assert.equal(formatAge(1_000_000_000n, 301_000), "5 min ago");
  assert.equal(formatAge(2_000_000_000n, 1_000), "0 s ago");
  assert.equal(formatAge(0n, 1_000), "");
});

test("shortId() omits the algorithm", () => {
  assert.equal(shortId(`sha256:${"a".repeat(64)}`), "a".repeat(12));
  assert.equal(shortId("abc"), "abc");
});

test("formatLocalTime() prints the time of this time zone", () => {
  const shown = formatLocalTime(1_700_000_000_250_999_999n);
  assert.match(shown, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.250$/);
  assert.equal(new Date(shown).getTime(), 1_700_000_000_250);
});
