/** Processes that SIGKILL does not end because they hang in the kernel. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { testMark } from "../../../test/support/belongs.ts";
import { noStuckDisk, StuckDisk } from "../../../test/support/stuck-disk.ts";
import { isKind } from "../../base/errors.ts";
import {
  cgroupProcs,
  cgroupProcsPaths,
  createCgroup,
  detectCgroups,
  killCgroup,
  removeCgroup,
} from "../cgroup/index.ts";
import { spawnChildInPool } from "./child.ts";
import { processWait } from "./process-wait.ts";
import { run } from "./run.ts";
import { until } from "../testing/leaks.ts";

const env = { PATH: "/usr/bin:/bin" };
const layout = detectCgroups();

describe("a process that hangs in the kernel", { skip: noStuckDisk }, () => {
  test("is named by killCgroup() in time, and ends as soon as it can", async () => {
    const path = `/${testMark}-stuck`;
    await createCgroup(layout, path);
    await using disk = await StuckDisk.mount();
    const child = await spawnChildInPool({
      file: "ls",
      args: [`${disk.directory}/hang`],
      env,
      cgroupProcsPaths: cgroupProcsPaths(layout, path),
    });
    await until("it hangs", () => disk.hanging === 1);
    await assert.rejects(killCgroup(layout, path, { timeoutMs: 300 }), (error) => {
      assert.ok(isKind(error, "deadline-exceeded"));
      assert.match(String(error), /still running 300 ms after SIGKILL: process \d+ \("ls"\)/);
      assert.match(String(error), /state D \(uninterruptible sleep\), waiting in \w+/);
      assert.match(String(error), /restart the node/);
      return true;
    });
    const wait = await processWait(child.pid);
    assert.equal(wait?.state, "D");
    assert.ok(
      wait.stack.some((frame) => frame.includes("fuse")),
      wait.stack.join(),
    );
    await disk.release();
    await child.exited;
    await killCgroup(layout, path);
    assert.deepEqual(await cgroupProcs(layout, path), []);
    await removeCgroup(layout, path);
  });

  test("delays run() by at most its timeout and two seconds", async () => {
    await using disk = await StuckDisk.mount();
    const running = run({ file: "ls", args: [`${disk.directory}/hang`], env, timeoutMs: 1000 });
    await assert.rejects(running, (error) => {
      assert.ok(isKind(error, "deadline-exceeded"));
      assert.match(
        String(error),
        /within 1 s and was killed; it does not end: process \d+ \("ls"\)/,
      );
      return true;
    });
  });
});
