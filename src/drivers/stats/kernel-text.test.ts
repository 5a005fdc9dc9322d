import assert from "node:assert/strict";
import { test } from "node:test";

import { decimal, field, number } from "./kernel-text.ts";

void test("number() takes a file of one number, also beyond doubles, and nothing else", () => {
  for (const [text, value] of [
    ["0\n", 0n],
    ["9007199254740993\n", 9_007_199_254_740_993n],
    ["999999999999999", 999_999_999_999_999n],
    ["18446744073709551615\n", (1n << 64n) - 1n],
    [" 7 \n", 7n],
  ] as const) {
    assert.equal(number(text), value, text);
  }
  for (const text of [
    "",
    "\n",
    "max\n",
    "-1\n",
    "1 2\n",
    "1.5\n",
    "0x1\n",
    "1n",
    null,
    undefined,
  ]) {
    assert.equal(number(text), undefined, String(text));
  }
});

void test("field() takes the line of the whole name", () => {
  const text = "total_rss 1\nrss_huge 2\nrss 3\nrss 4\nswap max\nlast 5";
  assert.equal(field(text, "rss"), 3n);
  assert.equal(field(text, "total_rss"), 1n);
  assert.equal(field(text, "last"), 5n);
  for (const name of ["huge", "swap", "r", "total", "las", "5"]) {
    assert.equal(field(text, name), undefined, name);
  }
  assert.equal(field("", "rss"), undefined);
  assert.equal(field("rss", "rss"), undefined);
  assert.equal(field(null, "rss"), undefined);
});

void test("decimal() takes the number between two places", () => {
  assert.equal(decimal("a 12 3", 1, 4), 12n);
  assert.equal(decimal("a 12 3", 1, 6), undefined);
  assert.equal(decimal("12", 1, 1), undefined);
});
