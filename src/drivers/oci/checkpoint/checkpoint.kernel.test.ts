/** Containers that are captured and restored. */
// variants: conmon
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { kindOf, RuntimeError } from "../../../base/errors.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import { findByDirectory } from "../../../linux/process/index.ts";
import { mountsBelow, until } from "../../../linux/testing/leaks.ts";
import { captureRequest, restoring, withoutCriu } from "../testing/criu.ts";
import { holdings, processSpec, TestHost } from "../testing/sandbox.ts";
import { patient } from "../../../../test/support/patience.ts";

const host = await TestHost.open();
const runtime = await host.runtime();

after(async () => {
  await host[Symbol.asyncDispose]();
});

const soon = (): AbortSignal => AbortSignal.timeout(patient(20_000));
const counting = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done";

/** The numbers in the log of a container that counts. */
function numbers(id: string): readonly number[] {
  return host.log(id).map(([, , text]) => Number(text));
}

/** What CRIU has left where it makes temporary directories. */
function criuFiles(): readonly string[] {
  return readdirSync("/tmp").filter((name) => name.startsWith(".criu."));
}

async function end(id: string): Promise<void> {
  await runtime.killAll(id);
  await host.end(runtime, id);
}

for (const runtimePath of ["crun", "runc"]) {
  describe(`OciRuntime.captures with ${runtimePath}`, { skip: withoutCriu }, () => {
    test("captures a container that runs on, and restores it where it was", async () => {
      const args = ["sh", "-c", counting];
      const { id } = await host.start(runtime, { args, runtimePath });
      await host.logWith(id, / 10\n/);
      const request = captureRequest(host.directory);
      await runtime.captures.capture(id, request, testOperation());
      const captured = numbers(id).at(-1) ?? 0;
      await until("it counts on", () => (numbers(id).at(-1) ?? 0) > captured + 5);
      assert.ok(readdirSync(request.images).some((name) => /^pages-\d+\.img$/.test(name)));
      assert.ok(readFileSync(`${request.work}/dump.log`, "utf8").includes("finished successfully"));
      await end(id);

      const bundle = restoring(host.bundle({ args, runtimePath }), request);
      await runtime.start(bundle, testOperation());
      await until("it counts on", () => numbers(bundle.id).length > 5);
      const restored = numbers(bundle.id);
      assert.ok(Math.abs((restored[0] ?? 0) - captured) <= 2, `${captured}: ${restored.join(" ")}`);
      assert.deepEqual(
        restored,
        restored.map((_, at) => (restored[0] ?? 0) + at),
      );
      const result = await runtime.execSync(
        bundle.id,
        processSpec(["sh", "-c", "cat /proc/sys/kernel/hostname"]),
        testOperation(),
      );
      assert.equal(Buffer.from(result.stdout).toString(), "restored\n");
      await end(bundle.id);
    });

    test("ends a capture at the deadline at any moment, and the processes run on or stay paused", async () => {
      const args = ["sh", "-c", `x=$(seq 1 1000000); ${counting}`];
      const { id, process } = await host.start(runtime, { args, runtimePath });
      await host.logWith(id, / 1\n/);
      for (const ms of [0, 20, 60, 90, 110, 130, 150, 170, 200, 250]) {
        const isPaused = ms % 20 !== 0;
        if (isPaused) await runtime.freezer.pause(id, soon());
        const request = captureRequest(host.directory, { leaveRunning: false });
        const caller = new AbortController();
        const capturing = runtime.captures.capture(id, request, testOperation(caller.signal));
        await delay(ms);
        caller.abort(new RuntimeError("deadline-exceeded", "the deadline"));
        const isDone = await capturing.then(
          () => true,
          (error: unknown) => {
            assert.equal(kindOf(error), "deadline-exceeded", String(error));
            return false;
          },
        );
        // On a fast machine it may be done, and has ended the processes.
        if (isDone) break;
        assert.equal(await runtime.freezer.isPaused(id), isPaused);
        const status = readFileSync(`/proc/${process.pid}/status`, "utf8");
        assert.match(status, /TracerPid:\t0\n/);
        await runtime.freezer.resume(id);
        const before = numbers(id).length;
        await until("it counts on", () => numbers(id).length > before + 2);
        assert.deepEqual(await findByDirectory(request.work), []);
      }
      assert.deepEqual(
        numbers(id),
        numbers(id).map((_, at) => at + 1),
      );
      await end(id);
    });

    test("captures a container that ends with it, and says so", async () => {
      const { id } = await host.start(runtime, { args: ["sh", "-c", counting], runtimePath });
      await host.logWith(id, / 10\n/);
      const request = captureRequest(host.directory, { leaveRunning: false });
      await runtime.captures.capture(id, request, testOperation());
      const exit = await host.end(runtime, id);
      assert.deepEqual([exit.exitCode, exit.captured, exit.oomKilled], [137, true, false]);
    });

    test("captures a paused container, which stays paused", async () => {
      const { id } = await host.start(runtime, { args: ["sh", "-c", counting], runtimePath });
      await host.logWith(id, / 10\n/);
      await runtime.freezer.pause(id, soon());
      const paused = numbers(id);
      const request = captureRequest(host.directory);
      await runtime.captures.capture(id, request, testOperation());
      assert.equal(await runtime.freezer.isPaused(id), true);
      assert.deepEqual(numbers(id), paused);
      await runtime.freezer.resume(id);
      await until("it counts on", () => numbers(id).length > paused.length + 2);
      await end(id);
      const bundle = restoring(host.bundle({ args: ["sh"], runtimePath }), request);
      await runtime.start(bundle, testOperation());
      await until("it counts on", () => numbers(bundle.id).length > 2);
      assert.equal(numbers(bundle.id)[0], (paused.at(-1) ?? 0) + 1);
      await end(bundle.id);
    });

    test("undoes a restore that is aborted at any moment, or refused by beforeCommand", async () => {
      const { id } = await host.start(runtime, { args: ["sh", "-c", counting], runtimePath });
      await host.logWith(id, / 3\n/);
      const request = captureRequest(host.directory);
      await runtime.captures.capture(id, request, testOperation());
      await end(id);
      const [before, mounts, temporary] = [holdings(), await mountsBelow("/"), criuFiles()];
      for (const ms of [0, 20, 40, 60, 80, 100, 130, 160, 200]) {
        const bundle = restoring(host.bundle({ args: ["sh"], runtimePath }), request);
        const caller = new AbortController();
        const starting = runtime.start(bundle, testOperation(caller.signal));
        setTimeout(() => {
          caller.abort(new Error("the caller is gone"));
        }, ms);
        // On a fast machine the start may end before the abort.
        await starting.then(
          () => end(bundle.id),
          () => undefined,
        );
        host.assertGone(bundle.id);
      }
      const refused = restoring(host.bundle({ args: ["sh"], runtimePath }), request);
      const beforeCommand = async (pid: number): Promise<void> => {
        assert.ok(existsSync(`/proc/${pid}`));
        throw new RuntimeError("failed-precondition", "a plugin refuses it");
      };
      await assert.rejects(
        runtime.start({ ...refused, beforeCommand }, testOperation()),
        /a plugin refuses it/,
      );
      host.assertGone(refused.id);
      assert.deepEqual(host.log(refused.id), []);
      assert.deepEqual(holdings(), before);
      assert.deepEqual(await mountsBelow("/"), mounts);
      assert.deepEqual(criuFiles(), temporary);
    });
  });
}
