import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { decide, checkIntervalMs, MemoryTrimmer, type Moment } from "./memory-trimmer.ts";

const mebibyte = 1024 * 1024;
const idle: Moment = {
  grownBytes: 12 * mebibyte,
  sinceMs: 5_000,
  utilization: 0.049,
  isBusy: false,
};

test("memory is given back when idle, when there is much of it, and not too often", () => {
  assert.equal(decide(idle), "release");
  assert.equal(decide({ ...idle, grownBytes: 12 * mebibyte - 1 }), "nothing");
  assert.equal(decide({ ...idle, sinceMs: 4_999 }), "later");
  assert.equal(decide({ ...idle, utilization: 0.05 }), "later");
  assert.equal(decide({ ...idle, isBusy: true }), "later");
});

/** A process whose figures a test sets. */
function scriptedProcess({ mock }: TestContext): {
  residentMiB: number;
  utilization: number;
  isBusy: boolean;
  checks: number;
  releases: number;
  readonly trimmer: MemoryTrimmer;
  readonly pass: (ms: number) => void;
} {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const process = {
    residentMiB: 30,
    utilization: 0,
    isBusy: false,
    checks: 0,
    releases: 0,
    pass: (ms: number) => {
      // A tick runs only the timers that exist when it begins.
      for (let passed = 0; passed < ms; passed += checkIntervalMs / 2)
        mock.timers.tick(checkIntervalMs / 2);
    },
  };
  const trimmer = new MemoryTrimmer({
    residentBytes: () => {
      process.checks++;
      return process.residentMiB * mebibyte;
    },
    utilization: () => process.utilization,
    isBusy: () => process.isBusy,
    release: () => {
      process.releases++;
      process.residentMiB = 35;
    },
    nowMs: () => Date.now(),
  });
  return Object.assign(process, { trimmer });
}

test("without work nobody checks, and after a little of it once", (context) => {
  const process = scriptedProcess(context);
  process.residentMiB = 100;
  process.pass(3_600_000);
  assert.equal(process.checks, 0);
  process.trimmer.worked();
  process.residentMiB = 111;
  process.trimmer.worked();
  process.pass(3_600_000);
  // The first check is at the beginning of the work.
  assert.deepEqual([process.checks, process.releases], [2, 0]);
});

test("after much work it waits until the process is idle, and counts growth from there", (context) => {
  const process = scriptedProcess(context);
  process.pass(60_000);
  process.trimmer.worked();
  Object.assign(process, { residentMiB: 100, utilization: 0.9 });
  process.pass(120_000);
  Object.assign(process, { utilization: 0, isBusy: true });
  process.pass(120_000);
  assert.equal(process.releases, 0);
  process.isBusy = false;
  process.pass(checkIntervalMs);
  assert.equal(process.releases, 1);
  // 35 MiB are left. At 46 MiB it does not release, and at 47 MiB only after five seconds.
  process.trimmer.worked();
  process.residentMiB = 46;
  process.pass(checkIntervalMs);
  process.trimmer.worked();
  process.residentMiB = 47;
  process.pass(3_000);
  assert.equal(process.releases, 1);
  process.pass(1_000);
  assert.equal(process.releases, 2);
  const { checks } = process;
  process.pass(3_600_000);
  assert.equal(process.checks, checks);
});

test("nothing happens after disposal", (context) => {
  const process = scriptedProcess(context);
  process.pass(60_000);
  process.trimmer.worked();
  process.residentMiB = 100;
  process.trimmer[Symbol.dispose]();
  process.trimmer.worked();
  process.pass(60_000);
  assert.deepEqual([process.checks, process.releases], [1, 0]);
});
