import assert from "node:assert/strict";
import { test } from "node:test";
import { SyncBackOff } from "./sync-back-off.ts";

test("a plugin waits longer with each failure, up to a minute, until it succeeds", () => {
  const backOff = new SyncBackOff();
  const delays = Array.from({ length: 9 }, () => {
    const ms = backOff.delayMs("10-a");
    backOff.failed("10-a");
    return ms;
  });
  assert.deepEqual(delays, [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  assert.equal(backOff.delayMs("10-b"), 0);
  backOff.succeeded("10-a");
  assert.equal(backOff.delayMs("10-a"), 0);
});

test("names without end are forgotten, the oldest failure first", () => {
  const backOff = new SyncBackOff();
  backOff.failed("10-first");
  backOff.failed("10-second");
  backOff.failed("10-first");
  for (let name = 0; name < 63; name++) backOff.failed(`20-${name}`);
  assert.equal(backOff.delayMs("10-second"), 0);
  assert.equal(backOff.delayMs("10-first"), 2_000);
});
