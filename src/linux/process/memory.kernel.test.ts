import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { releaseFreeMemory, releaseMemory } from "./memory.ts";

function residentKib(): number {
  const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
  return Number(/^Rss: +(\d+) kB$/m.exec(rollup)?.[1]);
}

test("releaseFreeMemory() releases pages of Node.js's code, and everything still works", () => {
  const before = residentKib();
  releaseFreeMemory();
  const after = residentKib();
  // Node.js has mapped 30 MB of them when a test runs, and needs a few to run this line; its other
  // threads use more of them on a busy machine.
  assert.ok(after < before - 1024, `${before} KiB before, ${after} KiB after`);
  // Unmapped code is mapped again when it is called.
  assert.equal("\u00e9".normalize("NFD").length, 2);
  assert.equal(new Intl.NumberFormat("de").format(1234.5), "1.234,5");
});

test("releaseMemory() collects garbage first", () => {
  let numbers = Array.from({ length: 200_000 }, (_, index) => ({ index, text: `${index}` }));
  assert.equal(numbers.length, 200_000);
  const before = residentKib();
  numbers = [];
  releaseMemory();
  const after = residentKib();
  assert.ok(after < before - 8192, `${before} KiB before, ${after} KiB after`);
});
