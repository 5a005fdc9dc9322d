import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { afterEach, beforeEach, test } from "node:test";

import { spawnChild, spawnChildInPool } from "./child.ts";
import { preferEventLoop } from "./schedule.ts";

const env = { PATH: "/usr/bin:/bin" };
let before: number;

beforeEach(() => {
  before = getPriority();
  setPriority(0);
});

afterEach(() => {
  setPriority(before);
});

/** Field 19 of proc_pid_stat(5). */
function niceOf(path: string): number {
  const stat = readFileSync(path, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
}

test("preferEventLoop() is for the calling thread alone", async () => {
  assert.equal(preferEventLoop(), true);
  assert.equal(niceOf(`/proc/self/task/${process.pid}/stat`), -10);
  const others = readdirSync("/proc/self/task").filter((tid) => Number(tid) !== process.pid);
  assert.ok(others.length > 0);
  for (const tid of others) assert.equal(niceOf(`/proc/self/task/${tid}/stat`), 0);
  const sleep = { file: "sleep", args: ["60"], env };
  for (const child of [spawnChild(sleep), await spawnChildInPool(sleep)]) {
    const nice = niceOf(`/proc/${child.pid}/stat`);
    child.kill(9);
    await child.exited;
    assert.equal(nice, 0);
  }
});

test("preferEventLoop() leaves alone what was chosen for the daemon", () => {
  setPriority(5);
  assert.equal(preferEventLoop(), false);
  assert.equal(getPriority(), 5);
});
