import assert from "node:assert/strict";
import { test } from "node:test";
import { bar, sparkline, symbolsFor } from "./symbols.ts";

const unicode = symbolsFor({ LANG: "de_DE.UTF-8" });
const ascii = symbolsFor({});

test("symbolsFor() chooses by the locale that counts", () => {
  assert.equal(symbolsFor({ LC_ALL: "C", LANG: "C.UTF-8" }), ascii);
  assert.equal(symbolsFor({ LC_ALL: "", LC_CTYPE: "en_US.utf8" }), unicode);
  assert.equal(symbolsFor({ LANG: "POSIX" }), ascii);
});

test("sparkline() draws each value relative to the peak, and idle containers flat", () => {
  assert.equal(sparkline([undefined, 0, 0.5, 1, 2], unicode), " ▁▃▅█");
  assert.equal(sparkline([0, 0.001, 0.002], unicode), "▁▁▁");
  assert.equal(sparkline([0, 1, 2], ascii), "_=#");
  assert.equal(sparkline([], ascii), "");
});

test("bar() is never longer than its width", () => {
  assert.equal(bar(0.5, 4, ascii), "##..");
  assert.equal(bar(7, 4, ascii), "####");
  assert.equal(bar(-1, 4, unicode), "░░░░");
});
