import assert from "node:assert/strict";
import { test } from "node:test";

import { spawnChild } from "./child.ts";
import { isDescendant, killProcessTree } from "./process-tree.ts";
import { childPids, firstText } from "../testing/leaks.ts";

const env = { PATH: "/usr/bin:/bin" };

test("killProcessTree() kills children and their children in sessions of their own", async () => {
  const script = "(setsid sleep 60 & echo $!; wait) & wait";
  const child = spawnChild({ file: "sh", args: ["-c", script], env, stdout: "pipe" });
  const grandchild = Number(await firstText(child.stdout));
  const killed = killProcessTree(child.pid);
  assert.ok(killed.includes(child.pid));
  assert.ok(killed.includes(grandchild));
  assert.equal((await child.exited).signal, 9);
  child.stdout?.destroy();
});

test("killProcessTree() spares the root, which then reaps its children", async () => {
  const script = "sleep 60 & echo; wait; exit 5";
  const child = spawnChild({ file: "sh", args: ["-c", script], env, stdout: "pipe" });
  await firstText(child.stdout);
  const killed = killProcessTree(child.pid, { spareRoot: true });
  assert.equal(killed.length, 1);
  assert.deepEqual(await child.exited, { code: 5, signal: null });
  child.stdout?.destroy();
});

test("killProcessTree() kills candidates in the session of a leader", async () => {
  const leader = spawnChild({
    file: "sh",
    // The shell of the substitution is reaped before the line is written, and leaves its child as an orphan
    // that is found in the session of the leader, not among its descendants.
    args: ["-c", "orphan=$(sleep 60 >/dev/null & echo $!); echo $orphan; exec sleep 60"],
    env,
    newSession: true,
    stdout: "pipe",
  });
  const orphan = Number(await firstText(leader.stdout));
  const stranger = spawnChild({ file: "sleep", args: ["60"], env });
  const killed = killProcessTree(leader.pid, { candidates: [orphan, stranger.pid] });
  assert.deepEqual(new Set(killed), new Set([leader.pid, orphan]));
  assert.equal((await leader.exited).signal, 9);
  assert.ok(childPids().includes(stranger.pid));
  stranger.kill(9);
  await stranger.exited;
  leader.stdout?.destroy();
});

test("killProcessTree() does nothing for a process that has ended", () => {
  assert.deepEqual(killProcessTree(2 ** 22 + 1), [2 ** 22 + 1]);
});

test("isDescendant() follows the parents of a process", async () => {
  const script = "(sleep 60 & echo $!; wait) & wait";
  const child = spawnChild({ file: "sh", args: ["-c", script], env, stdout: "pipe" });
  const grandchild = Number(await firstText(child.stdout));
  assert.equal(isDescendant(grandchild, child.pid), true);
  assert.equal(isDescendant(child.pid, process.pid), true);
  assert.equal(isDescendant(child.pid, grandchild), false);
  assert.equal(isDescendant(process.pid, child.pid), false);
  killProcessTree(child.pid);
  await child.exited;
  assert.equal(isDescendant(child.pid, process.pid), false);
  child.stdout?.destroy();
});
