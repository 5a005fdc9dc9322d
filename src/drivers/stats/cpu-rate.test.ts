import assert from "node:assert/strict";
import { test } from "node:test";

import { CpuRate } from "./cpu-rate.ts";

void test("CpuRate.add() gives a rate from the second reading on, over 1 s at least", () => {
  const rate = new CpuRate();
  assert.equal(rate.add(1_000n, 0), undefined);
  assert.equal(rate.add(500_000_000n, 999), undefined);
  // Half a core for 2 s.
  assert.equal(rate.add(1_000_001_000n, 2000), 500_000_000n);
  // Too soon after that, so the rate does not change.
  assert.equal(rate.add(9_000_000_000n, 2500), 500_000_000n);
  assert.equal(rate.add(3_000_001_000n, 3000), 2_000_000_000n);
});

void test("CpuRate.add() starts again after a counter that went back and after a long silence", () => {
  const rate = new CpuRate();
  rate.add(5_000n, 0);
  assert.equal(rate.add(6_000n, 1000), 1_000n);
  assert.equal(rate.add(5n, 2000), undefined);
  assert.equal(rate.add(1_005n, 3000), 1_000n);
  assert.equal(rate.add(9_999_999n, 3000 + 120_001), undefined);
});
