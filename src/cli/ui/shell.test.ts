import assert from "node:assert/strict";
import { test } from "node:test";
import { parseControl } from "./shell.ts";

test("parseControl() accepts sizes of terminals and acknowledgements only", () => {
  assert.deepEqual(parseControl('{"cols":80,"rows":24}'), { size: { width: 80, height: 24 } });
  assert.deepEqual(parseControl('{"ack":4096}'), { ack: 4096 });
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
    '{"ack":"1"}',
    '{"ack":-1}',
    '{"ack":1e99}',
  ]) {
    assert.deepEqual(parseControl(invalid), {}, invalid);
  }
});
