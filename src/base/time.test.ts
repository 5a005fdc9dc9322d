import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { systemClock } from "./time.ts";

describe("systemClock", () => {
  test("nowNs() always returns a later time", () => {
    let last = 0n;
    for (let n = 0; n < 10_000; n++) {
      const now = systemClock.nowNs();
      assert.ok(now > last);
      last = now;
    }
  });

  test("nowNs() is the wall clock's time", () => {
    const before = BigInt(Date.now()) * 1_000_000n;
    const now = systemClock.nowNs();
    // Calls within one millisecond add a nanosecond each, far less than a millisecond in total.
    assert.ok(now >= before);
    assert.ok(now < BigInt(Date.now() + 1) * 1_000_000n);
  });

  test("nowNs() continues when the machine's clock is set back", (context) => {
    const last = systemClock.nowNs();
    context.mock.timers.enable({ apis: ["Date"], now: 1_000 });
    assert.equal(systemClock.nowMs(), 1_000);
    assert.equal(systemClock.nowNs(), last + 1n);
    assert.equal(systemClock.nowNs(), last + 2n);
  });
});
