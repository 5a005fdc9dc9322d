import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import { cgroupProcs } from "../../linux/cgroup/index.ts";
import { environmentOf, openProcess } from "../../linux/process/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { holdings, operation, processesOf, TestHost } from "./testing/sandbox.ts";
import { patient } from "../../../test/support/patience.ts";

const host = await TestHost.open();
const runtime = await host.runtime();
const soon = (): AbortSignal => AbortSignal.timeout(patient(20_000));

after(async () => {
  await host[Symbol.asyncDispose]();
});

async function endOf(id: string) {
  const exit = await runtime.wait(id, soon());
  await runtime.remove(id);
  host.assertGone(id);
  return exit;
}

/** The log once it holds a line that matches. */
async function logWith(id: string, pattern: RegExp): Promise<void> {
  const path = host.logPath(id);
  await until(`a log with ${String(pattern)}`, () => {
    return existsSync(path) && pattern.test(readFileSync(path, "utf8"));
  });
}

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
      const exit = await endOf(id);
      assert.equal(exit.exitCode, exitCode);
      assert.equal(exit.unknown, false);
      assert.equal(exit.oomKilled, false);
      assert.ok(startedAtNs >= before);
      assert.ok(exit.finishedAtNs >= startedAtNs);
      assert.ok(exit.finishedAtNs <= BigInt(Date.now() + 1) * 1_000_000n);
    });
  }

  test("tells 128 and the signal of a killed process", async () => {
    const { id, process } = await host.start(runtime, { args: ["sleep", "1000"] });
    assert.equal(openProcess(process.pid, BigInt(process.startTime))?.close(), undefined);
    await runtime.kill(id, 9);
    assert.equal((await endOf(id)).exitCode, 137);
    await assert.rejects(runtime.kill(id, 9), (error) => isKind(error, "not-found"));
  });

  test("sends a signal that the process handles", async () => {
    const args = ["sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"];
    const { id } = await host.start(runtime, { args });
    await logWith(id, /ready/);
    await runtime.kill(id, 15);
    assert.equal((await endOf(id)).exitCode, 42);
  });

  test("writes both streams in CRI format, a line without an end as a partial one", async () => {
    const script = "echo out; echo err >&2; echo; printf unfinished";
    const { id } = await host.start(runtime, { args: ["sh", "-c", script] });
    await runtime.wait(id, soon());
    const lines = host.log(id);
    assert.deepEqual(
      lines.filter(([stream]) => stream === "stdout"),
      [
        ["stdout", "F", "out"],
        ["stdout", "F", ""],
        ["stdout", "P", "unfinished"],
      ],
    );
    assert.deepEqual(
      lines.filter(([stream]) => stream === "stderr"),
      [["stderr", "F", "err"]],
    );
    await endOf(id);
  });

  test("cuts a long line into partial ones that add up to it", async () => {
    const script =
      "dd if=/bin/busybox bs=20000 count=1 2>/dev/null | cat -v >/tmp/x; seq 1 9000 >/tmp/y; cat /tmp/y | while read n; do printf '%s,' $n; done; echo end";
    const { id } = await host.start(runtime, { args: ["sh", "-c", script] });
    await runtime.wait(id, soon());
    const lines = host.log(id);
    assert.ok(lines.length > 1);
    assert.deepEqual(
      lines.map(([, tag]) => tag),
      [...lines.slice(1).map(() => "P"), "F"],
    );
    const numbers = Array.from({ length: 9000 }, (_, i) => `${String(i + 1)},`).join("");
    assert.equal(lines.map(([, , text]) => text).join(""), `${numbers}end`);
    await endOf(id);
  });

  test("logs nothing without a log path", async () => {
    const { id } = await host.start(runtime, { args: ["sh", "-c", "echo lost"], log: false });
    assert.equal((await endOf(id)).exitCode, 0);
    assert.equal(existsSync(host.logPath(id)), false);
  });

  test("gives a terminal: one stream, line ends as a terminal has them", async () => {
    const args = ["sh", "-c", "[ -t 0 ] && [ -t 1 ] && echo terminal >&2"];
    const { id } = await host.start(runtime, { args, terminal: true, stdin: true });
    assert.equal((await runtime.wait(id, soon())).exitCode, 0);
    assert.deepEqual(host.log(id), [["stdout", "F", "terminal\r"]]);
    await endOf(id);
  });

  test("hands terminals over in its own directories, however long their paths are", async () => {
    for (const runtimePath of ["crun", "runc"]) {
      const state = join(host.directory, `${runtimePath}-${"x".repeat(80)}`);
      mkdirSync(state);
      const apart = await host.runtime({ state });
      const options = { args: ["sh", "-c", "tty; sleep 1000"], terminal: true, runtimePath };
      const { id, monitor } = await host.start(apart, options);
      await logWith(id, /pts/);
      // The socket itself is gone as soon as the terminal has come.
      assert.equal(await environmentOf(monitor?.pid ?? 0, "TMPDIR"), ".");
      await apart.remove(id);
    }
  });

  test("gives end of file for stdin, or holds it open when it is asked for", async () => {
    const closed = await host.start(runtime, { args: ["cat"] });
    assert.equal((await endOf(closed.id)).exitCode, 0);
    for (const stdinOnce of [false, true]) {
      const { id } = await host.start(runtime, { args: ["cat"], stdin: true, stdinOnce });
      const command = processesOf(id).find((line) => line.includes("conmon"));
      assert.equal(command?.includes("--leave-stdin-open"), !stdinOnce);
      await runtime.kill(id, 9);
      assert.equal((await endOf(id)).exitCode, 137);
    }
  });

  test("fails with the OCI runtime's words and leaves nothing", async () => {
    const before = holdings();
    for (const [args, words] of [
      [["no-such-command"], /no-such-command.*not found/],
      [["/proc"], /\/proc/],
    ] as const) {
      const bundle = host.bundle({ args });
      await assert.rejects(runtime.start(bundle, operation()), words);
      host.assertGone(bundle.id);
    }
    const spec = { ociVersion: 1 } as unknown as OciSpec;
    const broken = { ...host.bundle({ args: ["true"] }), spec };
    await assert.rejects(runtime.start(broken, operation()), /OCI runtime create: .*config\.json/);
    host.assertGone(broken.id);
    const missing = host.bundle({ args: ["true"], runtimePath: "no-such-runtime" });
    await assert.rejects(runtime.start(missing, operation()), /no-such-runtime.*install/);
    host.assertGone(missing.id);
    assert.deepEqual(holdings(), before);
  });

  test("refuses a second start of the same id and leaves the first alone", async () => {
    const bundle = host.bundle({ args: ["sleep", "1000"] });
    await runtime.start(bundle, operation());
    await assert.rejects(runtime.start(bundle, operation()), (e) => isKind(e, "already-exists"));
    assert.equal((await cgroupProcs(host.cgroups, bundle.cgroupPath)).length, 1);
    await runtime.killAll(bundle.id);
    assert.equal((await endOf(bundle.id)).exitCode, 137);
  });

  test("makes the directories of the log, with colons in any name", async () => {
    const logPath = join(host.logs, "pod:1", "not-there", "a:b.log");
    const { id } = await host.start(runtime, { args: ["sh", "-c", "echo here"], logPath });
    await runtime.wait(id, soon());
    assert.deepEqual(host.log(id, logPath), [["stdout", "F", "here"]]);
    assert.equal(statSync(logPath).mode & 0o777, 0o640);
    await endOf(id);
  });

  test("goes on in a log that is there", async () => {
    const logPath = join(host.logs, "old.log");
    const line = "2026-01-01T00:00:00.000000000Z stdout F before\n";
    writeFileSync(logPath, line);
    const { id } = await host.start(runtime, { args: ["sh", "-c", "echo after"], logPath });
    await runtime.wait(id, soon());
    assert.deepEqual(
      host.log(id, logPath).map(([, , text]) => text),
      ["before", "after"],
    );
    await endOf(id);
  });

  test("fails, naming what is in the way, when the log cannot be written", async () => {
    const before = holdings();
    writeFileSync(join(host.logs, "file"), "");
    mkdirSync(join(host.logs, "directory"));
    for (const [name, words, kind] of [
      ["file/0.log", /open log directory .*file.*not a directory/, "not-found"],
      ["directory", /open log ".*directory": it is a directory/, "failed-precondition"],
    ] as const) {
      const bundle = host.bundle({ args: ["true"], logPath: join(host.logs, name) });
      await assert.rejects(runtime.start(bundle, operation()), (error) => {
        return isKind(error, kind) && words.test(String(error));
      });
      host.assertGone(bundle.id);
    }
    assert.deepEqual(holdings(), before);
  });

  test("tells that the memory limit was hit", async () => {
    const args = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; tail /dev/zero"];
    const options = { args, memoryBytes: 16 * 1024 * 1024 };
    const { id } = await host.start(runtime, options);
    const exit = await endOf(id);
    assert.equal(exit.oomKilled, true);
    assert.equal(exit.unknown, false);
  });

  test("ends everything in the cgroup when the process ends", async () => {
    const args = ["sh", "-c", "setsid sleep 1000 & sleep 1000 & echo ready; exit 5"];
    const { id } = await host.start(runtime, { args, hostPids: true });
    const exit = await runtime.wait(id, soon());
    assert.equal(exit.exitCode, 5);
    assert.deepEqual(await cgroupProcs(host.cgroups, host.cgroupPath(id)), []);
    await endOf(id);
  });

  test("ends at the caller's deadline, also when the runtime hangs in every verb", async () => {
    const hung = join(host.directory, "hung");
    writeFileSync(hung, "#!/bin/sh\nsleep 1000\n");
    chmodSync(hung, 0o755);
    const before = holdings();
    const bundle = host.bundle({ args: ["true"], runtimePath: hung });
    const begun = performance.now();
    await assert.rejects(runtime.start(bundle, operation(AbortSignal.timeout(300))), (error) =>
      isKind(error, "deadline-exceeded"),
    );
    assert.ok(performance.now() - begun < patient(6_000));
    host.assertGone(bundle.id);
    assert.deepEqual(processesOf(hung), []);
    assert.deepEqual(holdings(), before);
  });

  test("undoes a start that is given up at any moment", async () => {
    const before = holdings();
    for (const ms of [0, 5, 10, 15, 20, 30]) {
      const bundle = host.bundle({ args: ["sleep", "1000"] });
      const gaveUp = new AbortController();
      const starting = runtime.start(bundle, operation(gaveUp.signal));
      setTimeout(() => {
        gaveUp.abort(new Error("gave up"));
      }, ms);
      // On a quick machine the start was quicker.
      await starting.then(
        () => runtime.remove(bundle.id),
        () => undefined,
      );
      host.assertGone(bundle.id);
    }
    assert.deepEqual(holdings(), before);
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
        await endOf(id);
      }),
    );
    assert.deepEqual(holdings(), before);
  });

  test("runs with runc as well", async () => {
    const script = "echo hello; exit 7";
    const options = { args: ["sh", "-c", script], runtimePath: "runc" };
    const { id } = await host.start(runtime, options);
    assert.equal((await runtime.wait(id, soon())).exitCode, 7);
    assert.deepEqual(host.log(id), [["stdout", "F", "hello"]]);
    await endOf(id);
    const bad = host.bundle({ args: ["no-such-command"], runtimePath: "runc" });
    await assert.rejects(runtime.start(bad, operation()), (error) => {
      return /OCI runtime create: .*"no-such-command".*not found/.test(String(error));
    });
    host.assertGone(bad.id);
  });
});

describe("OciRuntime, when something dies", () => {
  test("tells an unknown exit when conmon was killed before the process ended", async () => {
    const { id, monitor } = await host.start(runtime, { args: ["sleep", "1000"] });
    assert.ok(monitor !== undefined);
    process.kill(monitor.pid, 9);
    await assert.rejects(
      runtime.wait(id, AbortSignal.timeout(100)),
      (error) => isKind(error, "deadline-exceeded"),
      "it still runs",
    );
    await runtime.kill(id, 9);
    const exit = await endOf(id);
    assert.deepEqual([exit.exitCode, exit.unknown], [255, true]);
  });

  test("tells the exit of a process that somebody else killed", async () => {
    const { id, process: init } = await host.start(runtime, { args: ["sleep", "1000"] });
    process.kill(init.pid, 9);
    const exit = await endOf(id);
    assert.deepEqual([exit.exitCode, exit.unknown], [137, false]);
  });

  test("removes a running container, and one that is not there", async () => {
    const { id } = await host.start(runtime, { args: ["sleep", "1000"] });
    await runtime.remove(id);
    host.assertGone(id);
    await runtime.remove(id);
    await runtime.remove("never-there");
  });
});

describe("OciRuntime after a restart of the daemon", () => {
  test("tells the end of a container that went on, and of one that ended meanwhile", async () => {
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

  test("removes what it never heard of: a start that a dead daemon left half-way", async () => {
    const first = await host.runtime();
    const { id } = await host.start(first, { args: ["sleep", "1000"] });
    await first.close();
    const second = await host.runtime();
    assert.deepEqual(await second.orphans(new Set()), [id]);
    assert.deepEqual(await second.orphans(new Set([id])), []);
    await second.killAll(id);
    await second.remove(id);
    host.assertGone(id);
    assert.deepEqual(await second.orphans(new Set()), []);
  });
});

describe("OciRuntime.reopenLog()", () => {
  test("loses no line and writes none twice while the log is rotated", async () => {
    // It writes as long as the log is rotated: a reopening must not meet the container's end.
    const loop = "while :; do n=$((n+1)); echo $n; [ $((n % 50)) = 0 ] && sleep 0.001; done";
    const script = `trap 'echo end; exit' TERM; n=0; ${loop}`;
    const { id } = await host.start(runtime, { args: ["sh", "-c", script] });
    const path = host.logPath(id);
    await logWith(id, /1/);
    const rotations = 20;
    for (let rotation = 0; rotation < rotations; rotation++) {
      renameSync(path, `${path}.${String(rotation)}`);
      await runtime.reopenLog(id, path);
    }
    await runtime.kill(id, 15);
    await runtime.wait(id, soon());
    const paths = [...Array(rotations).keys()].map((n) => `${path}.${String(n)}`);
    const texts = [...paths, path].flatMap((file) => host.log(id, file).map(([, , text]) => text));
    const lines = texts.length - 1;
    assert.ok(lines > rotations, `only ${String(lines)} lines`);
    assert.deepEqual(texts, [...Array.from({ length: lines }, (_, n) => String(n + 1)), "end"]);
    await endOf(id);
  });

  test("loses no line when the container ends in the middle of it", async () => {
    const script = "n=0; while [ $n -lt 500 ]; do n=$((n+1)); echo $n; done; echo end";
    for (let round = 0; round < 5; round++) {
      const { id } = await host.start(runtime, { args: ["sh", "-c", script] });
      const path = host.logPath(id);
      const paths: string[] = [];
      let failed = false;
      while (!failed) {
        const rotated = `${path}.${String(paths.length)}`;
        renameSync(path, rotated);
        paths.push(rotated);
        failed = await runtime.reopenLog(id, path).then(
          () => false,
          () => true,
        );
      }
      await runtime.wait(id, soon());
      assert.equal(existsSync(path), false, "a failed reopening leaves no new file");
      const texts = paths.flatMap((file) => host.log(id, file).map(([, , text]) => text));
      assert.deepEqual(texts, [...Array.from({ length: 500 }, (_, n) => String(n + 1)), "end"]);
      await endOf(id);
    }
  });

  test("does nothing while the log is where it was", async () => {
    const args = ["sh", "-c", "echo one; trap 'echo two; exit' TERM; while :; do sleep 0.05; done"];
    const { id } = await host.start(runtime, { args });
    await logWith(id, /one/);
    await using log = await open(host.logPath(id));
    await runtime.reopenLog(id, host.logPath(id));
    await runtime.kill(id, 15);
    await runtime.wait(id, soon());
    assert.match(await log.readFile("utf8"), /one\n.*two\n$/s);
    await endOf(id);
  });

  test("fails without a new file, and conmon lives on", async () => {
    const args = ["sh", "-c", "trap 'echo two; exit' TERM; echo one; while :; do sleep 0.05; done"];
    const directory = join(host.logs, "away");
    mkdirSync(directory);
    const logPath = join(directory, "0.log");
    const { id } = await host.start(runtime, { args, logPath });
    renameSync(directory, `${directory}-renamed`);
    await assert.rejects(runtime.reopenLog(id, logPath), (error) => isKind(error, "not-found"));
    assert.equal(existsSync(logPath), false);
    const moved = `${directory}-renamed/0.log`;
    await until("the first line", () => readFileSync(moved, "utf8").includes("one"));
    await runtime.kill(id, 15);
    assert.equal((await runtime.wait(id, soon())).exitCode, 0);
    assert.deepEqual(
      host.log(id, moved).map(([, , text]) => text),
      ["one", "two"],
    );
    await endOf(id);
  });
});
