import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceNumbers } from "./device-numbers.ts";

test("deviceNumbers() has all bits of both numbers", () => {
  assert.deepEqual(deviceNumbers(0x0801), { major: 8, minor: 1 });
  const numbers = { major: 0x1234_5abc, minor: 0xfedc_ba98 };
  assert.deepEqual(deviceNumbers(0x1234_5fed_cbaa_bc98n), numbers);
});
