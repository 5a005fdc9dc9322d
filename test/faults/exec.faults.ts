/** 10,000 commands, and 1,000 with a huge output, leave memory and descriptors of the daemon unchanged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inARow, saysItsNumber, saysMuch } from "../support/suites/repeated-exec.ts";
import { growth } from "../support/growth.ts";

// The slope of a line through the samples of the second half. A leak of a command, such as an entry of a map with
// its key, a promise or a timer, is more than this.
const heapBytesPerTime = 32;
// Malloc and V8 keep their highest use so far. A pipe's buffer is 64 KiB.
const residentBytesPerTime = 1 << 10;
const hugeResidentBytesPerTime = 16 << 10;
const hugeHeapBytesPerTime = 512;
const peakBytes = 96 << 20;

test("10,000 ExecSync in a row leave memory and descriptors where they were", async (t) => {
  const { samples } = await inARow(t, saysItsNumber, { times: 10_000, sampleEvery: 500 });
  const grows = growth(samples);
  t.diagnostic(`an ExecSync of the second half adds ${JSON.stringify(grows)}`);
  assert.ok(grows.heap <= heapBytesPerTime, `${grows.heap} bytes of heap an ExecSync`);
  assert.ok(grows.resident <= residentBytesPerTime, `${grows.resident} bytes an ExecSync`);
});

test("10 MB of output a thousand times are not cut, and memory stays flat", async (t) => {
  const { samples, peakBytes: peak } = await inARow(t, saysMuch, { times: 1_000, sampleEvery: 50 });
  const grows = growth(samples);
  t.diagnostic(`10 MB of the second half add ${JSON.stringify(grows)}, at most ${peak} bytes more`);
  assert.ok(grows.heap <= hugeHeapBytesPerTime, `${grows.heap} bytes of heap a time`);
  assert.ok(grows.resident <= hugeResidentBytesPerTime, `${grows.resident} bytes a time`);
  assert.ok(peak <= peakBytes, `${peak} bytes more`);
});
