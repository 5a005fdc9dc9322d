import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { decide, checkIntervalMs, MemoryTrimmer, type Moment } from "./memory-trimmer.ts";

const mebibyte = 1024 * 1024;
const rest: Moment = {
  grownBytes: 24 * mebibyte,
  sinceMs: 60_000,
  utilization: 0.049,
  isBusy: false,
};

test("memory is given back at rest, when there is much of it, and not too often", () => {
  assert.equal(decide(rest), "release");
  assert.equal(decide({ ...rest, grownBytes: 24 * mebibyte - 1 }), "nothing");
  assert.equal(decide({ ...rest, sinceMs: 59_999 }), "later");
  assert.equal(decide({ ...rest, utilization: 0.05 }), "later");
  assert.equal(decide({ ...rest, isBusy: true }), "later");
});

/** A process that can be told how it is. */
function playedProcess({ mock }: TestContext): {
  residentMiB: number;
  utilization: number;
  isBusy: boolean;
  looks: number;
  releases: number;
  readonly keeper: MemoryTrimmer;
  readonly pass: (ms: number) => void;
} {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const process = {
    residentMiB: 30,
    utilization: 0,
    isBusy: false,
    looks: 0,
    releases: 0,
    pass: (ms: number) => {
      // A tick runs only the timers that are there when it begins.
      for (let passed = 0; passed < ms; passed += checkIntervalMs / 2)
        mock.timers.tick(checkIntervalMs / 2);
    },
  };
  const keeper = new MemoryTrimmer({
    residentBytes: () => {
      process.looks++;
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
  return Object.assign(process, { keeper });
}

test("without work nobody looks, and after a little of it once", (context) => {
  const process = playedProcess(context);
  process.residentMiB = 100;
  process.pass(3_600_000);
  assert.equal(process.looks, 0);
  process.keeper.worked();
  process.residentMiB = 120;
  process.keeper.worked();
  process.pass(3_600_000);
  // One of them at the beginning of the work.
  assert.deepEqual([process.looks, process.releases], [2, 0]);
});

test("after much work it waits for the rest, and what has grown is counted from there", (context) => {
  const process = playedProcess(context);
  process.pass(60_000);
  process.keeper.worked();
  Object.assign(process, { residentMiB: 100, utilization: 0.9 });
  process.pass(120_000);
  Object.assign(process, { utilization: 0, isBusy: true });
  process.pass(120_000);
  assert.equal(process.releases, 0);
  process.isBusy = false;
  process.pass(checkIntervalMs);
  assert.equal(process.releases, 1);
  // 35 MiB are left: 58 are not enough, and 59 not before a minute is over.
  process.keeper.worked();
  process.residentMiB = 58;
  process.pass(checkIntervalMs);
  process.keeper.worked();
  process.residentMiB = 59;
  process.pass(30_000);
  assert.equal(process.releases, 1);
  process.pass(30_000);
  assert.equal(process.releases, 2);
  const { looks } = process;
  process.pass(3_600_000);
  assert.equal(process.looks, looks);
});

test("nothing is done after the end", (context) => {
  const process = playedProcess(context);
  process.pass(60_000);
  process.keeper.worked();
  process.residentMiB = 100;
  process.keeper[Symbol.dispose]();
  process.keeper.worked();
  process.pass(60_000);
  assert.deepEqual([process.looks, process.releases], [1, 0]);
});
