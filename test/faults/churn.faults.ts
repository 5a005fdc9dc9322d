/**
 * The full churn: 1,000 pods whose callers disconnect, repeat calls and interfere. Nothing is left, and memory and
 * descriptors of the daemon do not grow with the number of pods.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { churn } from "../support/suites/churn.ts";
import { growth } from "../support/growth.ts";

const pods = 1_000;

// The slope of a line through the ten samples of the second half. A pod takes some 40 calls. A leak of only one
// of them, such as an entry of a map with its key, a promise or a timer, is more than this. Compiled code is
// not counted, and caches are full by then.
const heapBytesPerPod = 512;
// Malloc and V8 keep their highest use so far, which the churn exceeds now and then: 8 KiB a pod were measured.
// A connection, or a buffer of a pipe, is 64 KiB.
const residentBytesPerPod = 32 << 10;
// One descriptor in a hundred pods would be a leak in the rarest operation of the churn.
const fdsPerPod = 0.01;

test(`${pods} pods with callers that go away, ask twice and interfere leave nothing and take nothing`, async (t) => {
  const samples = await churn(t, { pods, parallel: 8, sampleEvery: 50 });
  const grows = growth(samples);
  t.diagnostic(`a pod of the second half adds ${JSON.stringify(grows)}`);
  assert.ok(grows.heap <= heapBytesPerPod, `${grows.heap} bytes of heap a pod`);
  assert.ok(grows.resident <= residentBytesPerPod, `${grows.resident} bytes of memory a pod`);
  assert.ok(grows.fds <= fdsPerPod, `${grows.fds} descriptors a pod`);
});
