/** Containers from their start to their end. */
// variants: conmon
import assert from "node:assert/strict";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { testOperation } from "../../core/operation/testing/operation.ts";
import { cgroupProcs } from "../../linux/cgroup/index.ts";
import { environmentOf, openProcess } from "../../linux/process/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { holdings, processesOf, TestHost, testedMonitor } from "./testing/sandbox.ts";
import { patient } from "../../../test/support/patience.ts";

const host = await TestHost.open();
const runtime = await host.runtime();
const soon = (): AbortSignal => AbortSignal.timeout(patient(20_000));

after(async () => {
  await host[Symbol.asyncDispose]();
});

describe("OciRuntime.start()", () => {
  for (const [script, exitCode] of [
    ["exit 0", 0],
    ["exit 1", 1],
    ["kill -9 $$; exit 3", 3],
    ["exit 255", 255],
  ] as const) {
    test(`runs a process to its end: ${script}`, async () => {
      const before = BigInt(Date.now()) * 1_000_000n;
      const { id, startedAtNs } = await host.start(runtime, { args: ["sh", "-c", script] });
      const exit = await host.end(runtime, id);
      assert.equal(exit.exitCode, exitCode);
      assert.equal(exit.unknown, false);
      assert.equal(exit.oomKilled, false);
      assert.ok(startedAtNs >= before);
      assert.ok(exit.finishedAtNs > startedAtNs - 10_000_000n);
      assert.ok(exit.finishedAtNs <= BigInt(Date.now() + 1) * 1_000_000n);
    });
  }

  test("reports 128 and the signal of a killed process", async () => {
    const { id, process } = await host.start(runtime, { args: ["sleep", "1000"] });
    assert.equal(openProcess(process.pid, BigInt(process.startTime))?.close(), undefined);
    await runtime.kill(id, 9);
    assert.equal((await host.end(runtime, id)).exitCode, 137);
    await assert.rejects(runtime.kill(id, 9), (error) => isKind(error, "not-found"));
  });

  test("creates a terminal: one stream, with the line ends of a terminal", async () => {
    const args = ["sh", "-c", "[ -t 0 ] && [ -t 1 ] && echo terminal >&2"];
    const { id } = await host.start(runtime, { args, terminal: true, stdin: true });
    assert.equal((await runtime.wait(id, soon())).exitCode, 0);
    assert.deepEqual(host.log(id), [["stdout", "F", "terminal\r"]]);
    await host.end(runtime, id);
  });

  test("receives terminals in its own directories, however long their paths are", async () => {
    for (const runtimePath of ["crun", "runc"]) {
      const state = join(host.directory, `${runtimePath}-${"x".repeat(80)}`);
      mkdirSync(state);
      const apart = await host.runtime({ state });
      const options = { args: ["sh", "-c", "tty; sleep 1000"], terminal: true, runtimePath };
      const { id, monitor } = await host.start(apart, options);
      await host.logWith(id, /pts/);
      if (testedMonitor === "davit") {
        assert.ok(!existsSync(join(state, "containers", id, "console")), "it was received");
      } else {
        // The socket is removed when the terminal has been received.
        assert.equal(await environmentOf(monitor?.pid ?? 0, "TMPDIR"), ".");
      }
      await apart.remove(id);
    }
  });

  test("ends stdin, or leaves it open if the container has one", async () => {
    const closed = await host.start(runtime, { args: ["cat"] });
    assert.equal((await host.end(runtime, closed.id)).exitCode, 0);
    for (const stdinOnce of [false, true]) {
      const { id } = await host.start(runtime, { args: ["cat"], stdin: true, stdinOnce });
      const command = processesOf(id).find((line) => line.includes("--exit-dir")) ?? "";
      const open = testedMonitor === "davit" ? /--stdin / : /--leave-stdin-open/;
      assert.equal(open.test(command), !stdinOnce, command);
      await runtime.kill(id, 9);
      assert.equal((await host.end(runtime, id)).exitCode, 137);
    }
  });

  test("reports that the memory limit was hit", async () => {
    const args = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; tail /dev/zero"];
    const options = { args, memoryBytes: 16 * 1024 * 1024 };
    const { id } = await host.start(runtime, options);
    const exit = await host.end(runtime, id);
    assert.equal(exit.oomKilled, true);
    assert.equal(exit.unknown, false);
  });

  test("ends everything in the cgroup when the process ends", async () => {
    const args = ["sh", "-c", "setsid sleep 1000 & sleep 1000 & echo ready; exit 5"];
    const { id } = await host.start(runtime, { args, hostPids: true });
    const exit = await runtime.wait(id, soon());
    assert.equal(exit.exitCode, 5);
    assert.deepEqual(await cgroupProcs(host.cgroups, host.cgroupPath(id)), []);
    await host.end(runtime, id);
  });

  test("starts twenty at once", async () => {
    const before = holdings();
    const ids = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const args = ["sh", "-c", `echo ${String(n)}; exit ${String(n)}`];
        return (await host.start(runtime, { args })).id;
      }),
    );
    await Promise.all(
      ids.map(async (id, n) => {
        assert.equal((await runtime.wait(id, soon())).exitCode, n);
        assert.deepEqual(host.log(id), [["stdout", "F", String(n)]]);
        await host.end(runtime, id);
      }),
    );
    assert.deepEqual(holdings(), before);
  });

  test("runs containers by runc", async () => {
    const script = "echo hello; exit 7";
    const options = { args: ["sh", "-c", script], runtimePath: "runc" };
    const { id } = await host.start(runtime, options);
    assert.equal((await runtime.wait(id, soon())).exitCode, 7);
    assert.deepEqual(host.log(id), [["stdout", "F", "hello"]]);
    await host.end(runtime, id);
    const bad = host.bundle({ args: ["no-such-command"], runtimePath: "runc" });
    await assert.rejects(runtime.start(bad, testOperation()), (error) => {
      return /OCI runtime create: .*"no-such-command".*not found/.test(String(error));
    });
    host.assertGone(bad.id);
  });
});

describe("OciRuntime, when a process is killed", () => {
  test("reports an unknown exit when the monitor was killed before the process ended", async () => {
    const { id, monitor } = await host.start(runtime, { args: ["sleep", "1000"] });
    assert.ok(monitor !== undefined);
    process.kill(monitor.pid, 9);
    await assert.rejects(
      runtime.wait(id, AbortSignal.timeout(100)),
      (error) => isKind(error, "deadline-exceeded"),
      "it still runs",
    );
    await runtime.kill(id, 9);
    const exit = await host.end(runtime, id);
    assert.deepEqual([exit.exitCode, exit.unknown], [255, true]);
  });

  test("reports the exit of a process that another process killed", async () => {
    const { id, process: init } = await host.start(runtime, { args: ["sleep", "1000"] });
    process.kill(init.pid, 9);
    const exit = await host.end(runtime, id);
    assert.deepEqual([exit.exitCode, exit.unknown], [137, false]);
  });
});

describe("OciRuntime after a restart of the daemon", () => {
  test("reports the exit of a container that continued, and of one that ended meanwhile", async () => {
    const first = await host.runtime();
    const on = await host.start(first, { args: ["sh", "-c", "while :; do sleep 0.05; done"] });
    const done = await host.start(first, { args: ["sh", "-c", "exit 9"] });
    await first.close();
    const exitFile = join(host.state, "exits", done.id);
    await until("the exit is recorded", () => existsSync(exitFile));
    const { mtimeNs } = statSync(exitFile, { bigint: true });

    const second = await host.runtime();
    for (const { id, process, monitor } of [on, done]) {
      const cgroupPath = host.cgroupPath(id);
      await second.load(id, { runtimePath: "crun", process, monitor, cgroupPath });
      await second.load(id, { runtimePath: "crun", process, monitor, cgroupPath });
    }
    const past = await second.wait(done.id, soon());
    assert.deepEqual([past.exitCode, past.finishedAtNs, past.unknown], [9, mtimeNs, false]);

    const stopping = second.wait(on.id, soon());
    await second.kill(on.id, 9);
    assert.deepEqual([(await stopping).exitCode, (await stopping).unknown], [137, false]);
    for (const { id } of [on, done]) {
      await second.remove(id);
      host.assertGone(id);
    }
  });
});
