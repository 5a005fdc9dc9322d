import assert from "node:assert/strict";
import { test } from "node:test";
import { nowMs, stats } from "./testing/samples.ts";
import { UsageHistory } from "./usage.ts";

test("UsageHistory computes shares of a CPU from the times of the server", () => {
  const usage = new UsageHistory();
  usage.add([stats("c", { cpuMs: 100, atMs: nowMs })], nowMs);
  assert.equal(usage.of("c")?.cpu, undefined, "one sample has no rate");
  usage.add([stats("c", { cpuMs: 600, atMs: nowMs + 1_000 })], nowMs + 2_000);
  assert.equal(usage.of("c")?.cpu, 0.5);
  usage.add([stats("c", { cpuMs: 600, atMs: nowMs + 1_000 })], nowMs + 3_000);
  assert.equal(usage.of("c")?.cpu, 0.5, "the same sample again");
  usage.add([stats("c", { cpuMs: 3_600, atMs: nowMs + 3_000 })], nowMs + 4_000);
  assert.equal(usage.of("c")?.cpu, 1.5);
  usage.add([stats("c", { cpuMs: 10, atMs: nowMs + 5_000 })], nowMs + 5_000);
  assert.equal(usage.of("c")?.cpu, undefined, "the counter has started again");
  usage.add([], nowMs + 6_000);
  assert.equal(usage.of("c"), undefined, "the container is gone");
});

test("UsageHistory keeps the peaks of the last minute", () => {
  const usage = new UsageHistory();
  let cpuMs = 0;
  for (let second = 0; second <= 90; second += 1) {
    // Half a CPU, and all of it in second 70.
    if (second > 0) cpuMs += second === 70 ? 1_000 : 500;
    const atMs = nowMs + second * 1_000;
    usage.add([stats("c", { cpuMs, atMs })], atMs);
  }
  const history = usage.of("c")?.cpuHistory ?? [];
  assert.deepEqual(history, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 0.5]);
});

test("UsageHistory knows the memory limit from what is available", () => {
  const usage = new UsageHistory();
  const add = (memory: number, limit?: number): number | undefined => {
    usage.add([stats("c", { cpuMs: 0, memory, ...(limit === undefined ? {} : { limit }) })], nowMs);
    return usage.of("c")?.limitBytes;
  };
  assert.equal(add(10), undefined);
  // containerd says that 0 bytes are available where there is no limit.
  assert.equal(add(10, 10), undefined);
  assert.equal(add(10, 64), 64e6);
  assert.equal(add(64, 64), 64e6, "full, and the limit is known");
});
