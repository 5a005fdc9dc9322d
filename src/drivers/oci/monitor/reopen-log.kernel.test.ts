/** Logs that davit-monitor continues in a new file. container-log.kernel.test.ts has what is the same for all monitors. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../../base/errors.ts";
import { LogDirectory } from "../../../linux/file/index.ts";
import { SIGCONT, SIGSTOP } from "../../../linux/process/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { StateLayout } from "../state-layout.ts";
import { Counters, hiddenLog, written } from "../testing/counters.ts";
import { TestHost } from "../testing/sandbox.ts";
import { ControlConnection } from "./control.ts";
import { reopenLog } from "./reopen-log.ts";

const host = await TestHost.open();
const runtime = await host.runtime({ monitor: "davit" });
const counters = new Counters(host, runtime, "davit");
const paths = new StateLayout(host.state);

after(() => host[Symbol.asyncDispose]());

describe("reopenLog() by davit-monitor", () => {
  test("keeps the old log when the monitor does not answer in time, also when it reads the request later", async () => {
    await counters.run(async ({ id, directory, logPath, target }) => {
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
      await counters.assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("takes the new log when the answer arrives just at the deadline", async () => {
    await counters.run(async ({ id, directory, logPath, target }) => {
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
      assert.ok(!readdirSync(directory).includes(hiddenLog));
      await counters.assertWhole(id, [...files, logPath]);
    });
  });

  test("publishes the log that a daemon has handed over before it died", async () => {
    await counters.run(async ({ id, directory, logPath, target }) => {
      renameSync(logPath, `${logPath}.1`);
      {
        using opened = await LogDirectory.open(directory, { linkedRoots: [] });
        await using file = await opened.create(hiddenLog);
        using connection = new ControlConnection(paths, id);
        assert.equal(await connection.request("log", file.fd), "ok");
      }
      await written(join(directory, hiddenLog));
      await reopenLog(target);
      assert.deepEqual(readdirSync(directory), ["0.log", "0.log.1"]);
      await counters.assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("fails without a new file when the monitor has ended", async () => {
    await counters.run(async ({ directory, logPath, target }) => {
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
