import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { onStopSignals, type StopSignal } from "./stop-signals.ts";

test("onStopSignals() ignores a second signal of the same key press", async () => {
  const again: StopSignal[] = [];
  let now = 1000;
  const before = process.listenerCount("SIGTERM");
  {
    using signals = onStopSignals((signal) => again.push(signal), { nowMs: () => now });
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

test("onStopSignals() calls onReload for each SIGHUP", () => {
  let reloads = 0;
  using signals = onStopSignals(() => assert.fail("it was asked once"), {
    onReload: () => (reloads += 1),
  });
  for (let i = 0; i < 3; i++) process.emit("SIGHUP", "SIGHUP");
  assert.equal(reloads, 3);
  assert.equal(signals.signal.aborted, false);
  process.emit("SIGTERM", "SIGTERM");
  process.emit("SIGHUP", "SIGHUP");
  assert.equal(reloads, 4);
  assert.equal(signals.signal.aborted, true);
});

test("onStopSignals() stops a command whose terminal was closed", async () => {
  using signals = onStopSignals(() => undefined);
  process.emit("SIGHUP", "SIGHUP");
  assert.equal(await signals.stopped, "SIGHUP");
});

test("onStopSignals() passes signals to the handler that captures them, one for each key press", () => {
  let now = 1000;
  using signals = onStopSignals(() => assert.fail("it was not asked"), { nowMs: () => now });
  const got: StopSignal[] = [];
  {
    using _capture = signals.capture((signal) => got.push(signal));
    process.emit("SIGINT", "SIGINT");
    now += 20; // npm's copy of the same Ctrl-C
    process.emit("SIGINT", "SIGINT");
    now += 1000;
    process.emit("SIGHUP", "SIGHUP");
    assert.deepEqual(got, ["SIGINT", "SIGHUP"]);
    assert.equal(signals.signal.aborted, false);
  }
  process.emit("SIGINT", "SIGINT");
  assert.equal(signals.signal.aborted, true);
  assert.equal(got.length, 2);
});
