import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

import { spawnChild, spawnChildInPool } from "./child.ts";
import { run } from "./run.ts";
import { preferEventLoop } from "./schedule.ts";
import { nodeProgram } from "../testing/node.ts";

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

function hasAutogroups(): boolean {
  const file = "/proc/sys/kernel/sched_autogroup_enabled";
  return existsSync(file) && readFileSync(file, "latin1").trim() === "1";
}

test("preferEventLoop() changes only the calling thread", async () => {
  assert.equal(preferEventLoop(), true);
  assert.equal(niceOf(`/proc/self/task/${process.pid}/stat`), -10);
  const others = readdirSync("/proc/self/task").filter((tid) => Number(tid) !== process.pid);
  assert.ok(others.length > 0);
  // They have the value with which the tests were started. Only this thread was set to 0.
  for (const tid of others) assert.equal(niceOf(`/proc/self/task/${tid}/stat`), before);
  const sleep = { file: "sleep", args: ["60"], env };
  for (const child of [spawnChild(sleep), await spawnChildInPool(sleep)]) {
    const nice = niceOf(`/proc/${child.pid}/stat`);
    child.kill(9);
    await child.exited;
    assert.equal(nice, 0);
  }
});

test("preferEventLoop() changes only a session that this process leads", {
  skip: !hasAutogroups(),
}, async () => {
  const module = fileURLToPath(new URL("schedule.ts", import.meta.url));
  const script = `import { readFileSync } from "node:fs";
    import { preferEventLoop } from ${JSON.stringify(module)};
    console.log(preferEventLoop(), readFileSync("/proc/self/autogroup", "latin1"));`;
  const args = ["--input-type=module", "--eval", script];
  const program = { file: nodeProgram, args, env, timeoutMs: 60_000 };
  const own = await run({ ...program, newSession: true });
  assert.equal(own.stderr.toString(), "");
  assert.match(own.stdout.toString(), /^true \/autogroup-\d+ nice -5\n/);
  // The leader is a shell.
  const command = [nodeProgram, ...args].map((word) => `'${word}'`).join(" ");
  const shell = { ...program, file: "sh", args: ["-c", `${command}; true`] };
  const others = await run({ ...shell, newSession: true });
  assert.match(others.stdout.toString(), /^true \/autogroup-\d+ nice 0\n/);
});

test("preferEventLoop() does not change a chosen scheduling", () => {
  setPriority(5);
  assert.equal(preferEventLoop(), false);
  assert.equal(getPriority(), 5);
});
