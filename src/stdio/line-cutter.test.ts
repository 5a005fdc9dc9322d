import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { LineCutter } from "./line-cutter.ts";

/** The lines of a text that comes in pieces of a size. */
function cut(text: string, size: number, maxBytes = 8): readonly string[] {
  const lines = new LineCutter(maxBytes);
  const bytes = Buffer.from(text);
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    found.push(...lines.push(bytes.subarray(at, at + size)));
  }
  return [...found, ...lines.end()];
}

describe("LineCutter", () => {
  it("returns line by line, however the bytes are split", () => {
    for (const size of [1, 2, 3, 100]) {
      assert.deepEqual(cut("one\n\ntwo \u00e4\nrest", size), ["one", "two \u00e4", "rest"]);
    }
  });

  it("returns a long line in parts, and buffers no more than the limit", () => {
    for (const size of [1, 5, 100]) {
      assert.deepEqual(cut(`${"x".repeat(18)}\ny\n`, size), ["xxxxxxxx", "xxxxxxxx", "xx", "y"]);
      assert.deepEqual(cut("12345678\n", size), ["12345678"]);
    }
  });
});
