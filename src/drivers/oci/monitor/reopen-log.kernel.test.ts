/** Logs that davit-monitor continues in a new file. container-log.kernel.test.ts has what is the same for all monitors. */
import assert from "node:assert/strict";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../../base/errors.ts";
import { LogDirectory } from "../../../linux/file/index.ts";
import { SIGCONT, SIGSTOP, SIGTERM } from "../../../linux/process/index.ts";
import { makeFifo } from "../../../linux/stream/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import type { LogTarget } from "../container-monitor.ts";
import { StateLayout } from "../state-layout.ts";
import { holdings, TestHost } from "../testing/sandbox.ts";
import { ControlConnection } from "./control.ts";
import { reopenLog } from "./reopen-log.ts";

const host = await TestHost.open();
const runtime = await host.runtime({ monitor: "davit" });
const paths = new StateLayout(host.state);

after(() => host[Symbol.asyncDispose]());

/** Counts until SIGTERM, and then prints "end". */
const counting = [
  "sh",
  "-c",
  "trap 'echo end; exit' TERM; n=0; while :; do n=$((n+1)); echo $n; [ $((n % 20)) = 0 ] && sleep 0.001; done",
];

/** A container that counts into a log in a directory of its own. */
interface Counter {
  readonly id: string;
  readonly directory: string;
  readonly logPath: string;
  readonly target: LogTarget;
}

let made = 0;

async function withCounter(use: (counter: Counter) => Promise<void>): Promise<void> {
  const directory = join(host.logs, String(made++));
  const logPath = join(directory, "0.log");
  const { id, monitor } = await host.start(runtime, { args: counting, logPath });
  const target = { id, paths, monitorPid: monitor?.pid ?? 0, logPath, linkedRoots: [] };
  await written(logPath);
  await use({ id, directory, logPath, target });
  await runtime.remove(id);
  host.assertGone(id);
}

/** Ends the container, and checks that its logs together have each line once. */
async function assertWhole(id: string, files: readonly string[]): Promise<void> {
  await runtime.kill(id, SIGTERM);
  await runtime.wait(id, AbortSignal.timeout(20_000));
  const records = files.flatMap((file) => host.log(id, file));
  assert.ok(
    records.every(([, tag]) => tag === "F"),
    "a record for each line",
  );
  const lines = records.map(([, , text]) => text);
  assert.deepEqual(lines, [...lines.slice(0, -1).map((_, n) => String(n + 1)), "end"]);
}

async function written(file: string): Promise<void> {
  await until(`something in ${file}`, () => existsSync(file) && readFileSync(file).length > 0);
}

const hidden = ".0.log.new";

describe("reopenLog() by davit-monitor", () => {
  test("follows no link and waits for no fifo in the directory", async () => {
    const canary = join(host.directory, "canary");
    writeFileSync(canary, "canary");
    await withCounter(async ({ id, directory, logPath }) => {
      const before = holdings();
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
        for (const name of ["0.log", hidden]) {
          rmSync(join(directory, name), { force: true });
          obstacle(join(directory, name));
        }
        await runtime.reopenLog(id, logPath);
        assert.equal(readFileSync(canary, "utf8"), "canary");
        assert.ok(!existsSync(join(host.directory, "missing")));
      }
      assert.deepEqual(holdings(), before);
      await assertWhole(id, [...files, logPath]);
    });
  });

  test("fails where a directory has the name that it needs, and the old log continues", async () => {
    await withCounter(async ({ id, directory, logPath }) => {
      renameSync(logPath, `${logPath}.1`);
      mkdirSync(join(directory, hidden));
      await assert.rejects(runtime.reopenLog(id, logPath), /\.0\.log\.new/);
      assert.ok(!existsSync(logPath));
      rmSync(join(directory, hidden), { recursive: true });
      await runtime.reopenLog(id, logPath);
      await assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("keeps the old log when the monitor does not answer in time, also when it reads the request later", async () => {
    await withCounter(async ({ id, directory, logPath, target }) => {
      process.kill(target.monitorPid, SIGSTOP);
      renameSync(logPath, `${logPath}.1`);
      const late = reopenLog({ ...target, timeoutMs: 50 });
      await assert.rejects(
        late,
        (error) => isKind(error, "deadline-exceeded") && String(error).includes(logPath),
      );
      assert.deepEqual(readdirSync(directory), ["0.log.1"]);
      process.kill(target.monitorPid, SIGCONT);
      const size = (): number => readFileSync(`${logPath}.1`).length;
      const before = size();
      await until("it writes to the old log again", () => size() > before);
      await reopenLog(target);
      assert.deepEqual(readdirSync(directory), ["0.log", "0.log.1"]);
      await assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("takes the new log when the answer arrives just at the deadline", async () => {
    await withCounter(async ({ id, directory, logPath, target }) => {
      const files: string[] = [];
      for (let n = 0; n < 20; n++) {
        await written(logPath);
        renameSync(logPath, `${logPath}.${String(n)}`);
        files.push(`${logPath}.${String(n)}`);
        await reopenLog({ ...target, timeoutMs: 0 }).catch((error: unknown) => {
          assert.ok(isKind(error, "deadline-exceeded"), String(error));
          assert.ok(!existsSync(logPath));
          return reopenLog(target);
        });
      }
      assert.ok(!readdirSync(directory).includes(hidden));
      await assertWhole(id, [...files, logPath]);
    });
  });

  test("publishes the log that a daemon has handed over before it died", async () => {
    await withCounter(async ({ id, directory, logPath, target }) => {
      renameSync(logPath, `${logPath}.1`);
      {
        using opened = await LogDirectory.open(directory, { linkedRoots: [] });
        await using file = await opened.create(hidden);
        using connection = new ControlConnection(paths, id);
        assert.equal(await connection.request("log", file.fd), "ok");
      }
      await written(join(directory, hidden));
      await reopenLog(target);
      assert.deepEqual(readdirSync(directory), ["0.log", "0.log.1"]);
      await assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("fails without a new file when the monitor has ended", async () => {
    await withCounter(async ({ directory, logPath, target }) => {
      process.kill(target.monitorPid, 9);
      renameSync(logPath, `${logPath}.1`);
      const isGone = (error: unknown): boolean =>
        isKind(error, "failed-precondition") && /has ended/.test(String(error));
      await until("the monitor has ended", () => !existsSync(`/proc/${target.monitorPid}/fd/0`));
      await assert.rejects(reopenLog(target), isGone);
      assert.deepEqual(readdirSync(directory), ["0.log.1"]);
    });
  });
});

describe("a log with a maximum size", () => {
  test("is emptied before it grows beyond that, and has whole lines", async () => {
    const limited = await host.runtime({ monitor: "davit", logSizeMax: 8192 });
    const { id } = await host.start(limited, { args: ["sh", "-c", "seq 1 5000"] });
    assert.equal((await limited.wait(id, AbortSignal.timeout(20_000))).exitCode, 0);
    const text = readFileSync(host.logPath(id));
    assert.ok(text.length <= 8192, `${text.length} bytes`);
    const lines = host.log(id).map(([, , line]) => Number(line));
    assert.deepEqual(
      lines,
      lines.map((_, n) => 5000 - lines.length + 1 + n),
    );
    await limited.remove(id);
    host.assertGone(id);
  });
});
