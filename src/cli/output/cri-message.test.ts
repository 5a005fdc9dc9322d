import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { formatValue } from "./cri-message.ts";

test("formatValue() escapes the control characters of strings and keys", () => {
  const value = { "k\u009b": ["\u001b]52;c;eA==\u0007\u009b2J\u007f", "a\nb\u0085\n", "a:\u009c"] };
  for (const format of ["json", "yaml"] as const) {
    const text = formatValue(value, format);
    assert.doesNotMatch(text, /(?!\n)[\u0000-\u001f\u007f-\u009f]/);
    assert.deepEqual(format === "json" ? JSON.parse(text) : parse(text), value);
  }
});
