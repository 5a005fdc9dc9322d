import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { onStopSignals, type StopSignal } from "./stop-signals.ts";

test("onStopSignals() asks once, and again only for a later signal", async () => {
  const again: StopSignal[] = [];
  let now = 1000;
  const before = process.listenerCount("SIGTERM");
  {
    using signals = onStopSignals(
      (signal) => again.push(signal),
      () => now,
    );
    assert.equal(signals.signal.aborted, false);
    process.emit("SIGINT", "SIGINT");
    assert.equal(await signals.stopped, "SIGINT");
    assert.equal(signals.signal.aborted, true);
    now += 20; // npm's copy of the same Ctrl-C
    process.emit("SIGINT", "SIGINT");
    assert.deepEqual(again, []);
    now += 1000;
    process.emit("SIGTERM", "SIGTERM");
    assert.deepEqual(again, ["SIGTERM"]);
  }
  assert.equal(process.listenerCount("SIGTERM"), before);
});
