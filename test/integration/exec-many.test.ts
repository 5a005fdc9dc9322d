/** A short run of the repeated commands in test/faults, and what each of them leaves in the daemon. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { growth } from "../support/growth.ts";
import { inARow, saysItsNumber, saysMuch } from "../support/suites/repeated-exec.ts";

// A leak of a command's output or process is larger. Caches and compiled code still grow.
const heapBytesPerTime = 4 << 10;
const peakBytes = 64 << 20;

test("300 ExecSync in a row leave no descriptor, and no memory of each", async (t) => {
  const { samples } = await inARow(t, saysItsNumber, { times: 300, sampleEvery: 50 });
  const grows = growth(samples);
  t.diagnostic(`an ExecSync of the second half adds ${JSON.stringify(grows)}`);
  assert.ok(grows.heap <= heapBytesPerTime, `${grows.heap} bytes of heap an ExecSync`);
});

test("30 times 10 MB of output are not cut, and the daemon holds little of it at any moment", async (t) => {
  const run = await inARow(t, saysMuch, { times: 30, sampleEvery: 10 });
  assert.ok(run.peakBytes <= peakBytes, `${run.peakBytes} bytes more`);
});
