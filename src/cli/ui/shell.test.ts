import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSize } from "./shell.ts";

test("parseSize() accepts sizes of terminals only", () => {
  assert.deepEqual(parseSize('{"cols":80,"rows":24}'), { width: 80, height: 24 });
  for (const invalid of [
    "",
    "x",
    "null",
    "{}",
    '{"cols":80}',
    '{"cols":0,"rows":24}',
    '{"cols":80,"rows":1e9}',
    '{"cols":8.5,"rows":24}',
    '{"cols":"80","rows":"24"}',
  ]) {
    assert.equal(parseSize(invalid), undefined, invalid);
  }
});
