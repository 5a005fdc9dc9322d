import assert from "node:assert/strict";
import { test } from "node:test";

import { quote, quoteValue } from "./quote.ts";

test("quote() shows control characters, and cuts long texts", () => {
  assert.equal(quote('a"\n'), '"a\\"\\n"');
  assert.equal(quote("a".repeat(300)), `"${"a".repeat(300)}"`);
  assert.equal(quote("a".repeat(1e6)), `"${"a".repeat(300)}"... (1000000 characters)`);
});

test("quoteValue() shows values as JSON", () => {
  assert.equal(quoteValue(undefined), "nothing");
  assert.equal(quoteValue({ a: 1 }), '{"a":1}');
  assert.equal(quoteValue("x"), '"x"');
  assert.ok(quoteValue(Array.from({ length: 1000 }, () => 1)).endsWith("..."));
});
