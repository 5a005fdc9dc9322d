import assert from "node:assert/strict";
import { test } from "node:test";

import { indentedLines, printable, printableLines } from "./printable.ts";

test("printable() and printableLines() replace only control characters", () => {
  const text = "ä\u001b[31m\u0000\u009b1A\r\t\u007f\n日";
  assert.equal(printable(text), "ä?[31m??1A????日");
  assert.equal(printableLines(text), "ä?[31m??1A?\t?\n日");
});

test("indentedLines() lets no further line begin at the margin", () => {
  assert.equal(
    indentedLines("a\u0007\npod x  ready\n\n  b\n"),
    "a?\n      pod x  ready\n      \n        b",
  );
});
