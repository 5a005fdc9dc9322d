/** Rotations of logs that got stuck after the monitor had taken the new file, as when their daemon dies. */
// variants: conmon
import assert from "node:assert/strict";
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import type { Operation } from "../../core/operation/index.ts";
import { LogDirectory } from "../../linux/file/index.ts";
import { SIGTERM } from "../../linux/process/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { noteRotation } from "./rotation.ts";
import { StateLayout } from "./state-layout.ts";
import { Counters, hiddenLog, written } from "./testing/counters.ts";
import { testedMonitor, TestHost } from "./testing/sandbox.ts";

const host = await TestHost.open();
const runtime = await host.runtime();
const counters = new Counters(host, runtime, testedMonitor);
const paths = new StateLayout(host.state);

after(() => host[Symbol.asyncDispose]());

/** Fails where a daemon can die with the new file in use. */
const dies: Pick<Operation, "enter"> = {
  enter: async (stage) => {
    if (stage === "publish-log") throw new Error("the daemon dies here");
  },
};

/**
 * Rotates a log as kubelet does, by a daemon that dies: the old file gets its name back, or, where kubelet has died as well,
 * keeps that of a rotated one.
 */
async function getStuck(id: string, logPath: string, by: "renamed back" | "left"): Promise<void> {
  const old = `${logPath}.20260101-000000`;
  renameSync(logPath, old);
  await assert.rejects(runtime.reopenLog(id, logPath, dies), /the daemon dies here/);
  if (by === "renamed back") renameSync(old, logPath);
}

/** The files of a log, oldest first. */
function filesOf(directory: string): readonly string[] {
  const names = readdirSync(directory).toSorted();
  return [...names.filter((name) => name !== "0.log"), "0.log"].map((name) =>
    join(directory, name),
  );
}

describe("completeRotation()", () => {
  for (const by of ["renamed back", "left"] as const) {
    test(`gives the new file the log's name, with the old one ${by}`, async () => {
      await counters.run(async ({ id, directory, logPath }) => {
        await getStuck(id, logPath, by);
        await written(join(directory, hiddenLog));
        assert.equal(await runtime.completeRotation(id), true);
        const files = filesOf(directory);
        assert.equal(files.length, 2);
        assert.match(files[0] ?? "", /\/0\.log\.\d{8}-\d{6}(\.\d{3})?$/);
        assert.equal(await runtime.completeRotation(id), false);
        renameSync(logPath, `${logPath}.9`);
        await runtime.reopenLog(id, logPath);
        await counters.assertWhole(id, [...files.slice(0, -1), `${logPath}.9`, logPath]);
      });
    });

    test(`is done when the container ends, with the old one ${by}`, async () => {
      await counters.run(async ({ id, directory, logPath }) => {
        await getStuck(id, logPath, by);
        await written(join(directory, hiddenLog));
        await runtime.kill(id, SIGTERM);
        await runtime.wait(id, AbortSignal.timeout(20_000));
        const files = filesOf(directory);
        assert.equal(files.length, 2);
        await counters.assertWhole(id, files);
      });
    });
  }

  for (const [by, files] of [
    ["renamed back", ["0.log"]],
    ["left", ["0.log", "0.log.20260101-000000"]],
  ] as const) {
    test(`keeps a log where the new file has no line at the end, with the old one ${by}`, async () => {
      const script = "trap exit TERM; echo one; while :; do sleep 0.05; done";
      const directory = join(host.logs, `silent-${by.length}`);
      const logPath = join(directory, "0.log");
      const { id } = await host.start(runtime, { args: ["sh", "-c", script], logPath });
      await written(logPath);
      await getStuck(id, logPath, by);
      await runtime.kill(id, SIGTERM);
      await runtime.wait(id, AbortSignal.timeout(20_000));
      assert.deepEqual(readdirSync(directory), files);
      const old = join(directory, files.at(-1) ?? "");
      assert.match(readFileSync(old, "utf8"), /^\S+ stdout F one\n$/);
      await host.end(runtime, id);
    });
  }

  test("leaves a file that the monitor did not take until the end", async () => {
    await counters.run(async ({ id, directory, logPath, target }) => {
      {
        using opened = await LogDirectory.open(directory, { linkedRoots: [] });
        await using file = await opened.create(hiddenLog);
        noteRotation(target, await file.stat({ bigint: true }));
      }
      assert.equal(await runtime.completeRotation(id), false);
      assert.deepEqual(readdirSync(directory), [hiddenLog, "0.log"]);
      await counters.assertWhole(id, [logPath]);
      assert.deepEqual(readdirSync(directory), ["0.log"]);
    });
  });

  test("names no other file that has the hidden name", async () => {
    await counters.run(async ({ id, directory, logPath }) => {
      await getStuck(id, logPath, "renamed back");
      const hidden = join(directory, hiddenLog);
      await written(hidden);
      unlinkSync(hidden);
      symlinkSync("/etc/passwd", hidden);
      assert.equal(await runtime.completeRotation(id), false);
      assert.deepEqual(readdirSync(directory), [hiddenLog, "0.log"]);
      assert.ok(!existsSync(paths.file(id, "rotation")));
    });
  });

  test("does not lose the old file by the next rotation when that has its name again", async () => {
    await counters.run(async ({ id, directory, logPath }) => {
      await getStuck(id, logPath, "renamed back");
      await written(join(directory, hiddenLog));
      await runtime.reopenLog(id, logPath);
      const files = filesOf(directory);
      assert.equal(files.length, 2);
      await until("it writes there", () => readFileSync(logPath).length > 0);
      await counters.assertWhole(id, files);
    });
  });
});
