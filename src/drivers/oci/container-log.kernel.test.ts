/** The logs of containers. */
// variants: conmon
import assert from "node:assert/strict";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { makeFifo } from "../../linux/stream/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { Counters, hiddenLog, written } from "./testing/counters.ts";
import { holdings, testedMonitor, TestHost } from "./testing/sandbox.ts";
import { patient } from "../../../test/support/patience.ts";

const host = await TestHost.open();
const runtime = await host.runtime();
const counters = new Counters(host, runtime, testedMonitor);
const soon = (): AbortSignal => AbortSignal.timeout(patient(20_000));

after(async () => {
  await host[Symbol.asyncDispose]();
});

describe("the log of a container", () => {
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
    await host.end(runtime, id);
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
    await host.end(runtime, id);
  });

  test("logs nothing without a log path", async () => {
    const { id } = await host.start(runtime, { args: ["sh", "-c", "echo lost"], log: false });
    assert.equal((await host.end(runtime, id)).exitCode, 0);
    assert.equal(existsSync(host.logPath(id)), false);
  });

  test("creates the directories of the log, with colons in any name", async () => {
    const logPath = join(host.logs, "pod:1", "not-there", "a:b.log");
    const { id } = await host.start(runtime, { args: ["sh", "-c", "echo here"], logPath });
    await runtime.wait(id, soon());
    assert.deepEqual(host.log(id, logPath), [["stdout", "F", "here"]]);
    assert.equal(statSync(logPath).mode & 0o777, 0o640);
    await host.end(runtime, id);
  });

  test("appends to an existing log", async () => {
    const logPath = join(host.logs, "old.log");
    const line = "2026-01-01T00:00:00.000000000Z stdout F before\n";
    writeFileSync(logPath, line);
    const { id } = await host.start(runtime, { args: ["sh", "-c", "echo after"], logPath });
    await runtime.wait(id, soon());
    assert.deepEqual(
      host.log(id, logPath).map(([, , text]) => text),
      ["before", "after"],
    );
    await host.end(runtime, id);
  });
});

describe("OciRuntime.reopenLog()", () => {
  test("loses no line and writes none twice while the log is rotated", async () => {
    // The container writes during all rotations, so that no log is reopened after its end.
    const loop = "while :; do n=$((n+1)); echo $n; [ $((n % 50)) = 0 ] && sleep 0.001; done";
    const script = `trap 'echo end; exit' TERM; n=0; ${loop}`;
    const { id } = await host.start(runtime, { args: ["sh", "-c", script] });
    const path = host.logPath(id);
    await host.logWith(id, /1/);
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
    await host.end(runtime, id);
  });

  test("loses no line when the container ends during the reopen", async () => {
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
      await host.end(runtime, id);
    }
  });

  test("does nothing while the log is at its path", async () => {
    const args = ["sh", "-c", "echo one; trap 'echo two; exit' TERM; while :; do sleep 0.05; done"];
    const { id } = await host.start(runtime, { args });
    await host.logWith(id, /one/);
    await using log = await open(host.logPath(id));
    await runtime.reopenLog(id, host.logPath(id));
    await runtime.kill(id, 15);
    await runtime.wait(id, soon());
    assert.match(await log.readFile("utf8"), /one\n.*two\n$/s);
    await host.end(runtime, id);
  });

  test("fails without a new file, and the monitor continues", async () => {
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
    await host.end(runtime, id);
  });
});

describe("a log that continues in a new file", () => {
  test("follows no link and waits for no fifo in the directory", async () => {
    const canary = join(host.directory, "canary");
    writeFileSync(canary, "canary");
    await counters.run(async ({ id, directory, logPath }) => {
      const before = holdings();
      const names = ["0.log", "0.log.tmp", hiddenLog, ".0.log.probe"];
      const obstacles: readonly ((path: string) => void)[] = [
        makeFifo,
        (path) => symlinkSync(canary, path),
        (path) => symlinkSync(join(host.directory, "missing"), path),
        (path) => linkSync(canary, path),
      ];
      const files: string[] = [];
      for (const obstacle of obstacles) {
        await written(logPath);
        const rotated = `${logPath}.${String(files.length)}`;
        renameSync(logPath, rotated);
        files.push(rotated);
        for (const name of names) {
          rmSync(join(directory, name), { force: true });
          obstacle(join(directory, name));
        }
        await runtime.reopenLog(id, logPath);
        assert.equal(readFileSync(canary, "utf8"), "canary");
        assert.ok(!existsSync(join(host.directory, "missing")));
      }
      assert.deepEqual(holdings(), before);
      await counters.assertWhole(id, [...files, logPath]);
    });
  });

  test("fails where a directory has the name that it needs, and the old log continues", async () => {
    await counters.run(async ({ id, directory, logPath }) => {
      renameSync(logPath, `${logPath}.1`);
      mkdirSync(join(directory, hiddenLog));
      await assert.rejects(runtime.reopenLog(id, logPath), /\.0\.log\.new/);
      assert.ok(!existsSync(logPath));
      rmSync(join(directory, hiddenLog), { recursive: true });
      await runtime.reopenLog(id, logPath);
      await counters.assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });
});
