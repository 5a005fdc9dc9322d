import assert from "node:assert/strict";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { isKind } from "../../../base/errors.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import { LogDirectory } from "../../../linux/file/index.ts";
import { SIGCONT, SIGSTOP } from "../../../linux/process/index.ts";
import { makeFifo } from "../../../linux/stream/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { sendToMonitor } from "./control-fifo.ts";
import { isOffered, offerLog } from "./log-links.ts";
import { StateLayout } from "../state-layout.ts";
import { reopenLog } from "./reopen-log.ts";
import { TestClient } from "../../../core/streaming/testing/test-client.ts";
import { startAsOlderDavit } from "../testing/older-davit.ts";
import { Counters, counting, leftMounts, written } from "../testing/counters.ts";
import { TestHost } from "../testing/sandbox.ts";

const host = await TestHost.open();
const runtime = await host.runtime({ monitor: "conmon" });
const counters = new Counters(host, runtime, "conmon");
const paths = new StateLayout(host.state);

after(() => host[Symbol.asyncDispose]());

describe("reopenLog()", () => {
  test("refuses a directory that was replaced by a link", async () => {
    const elsewhere = join(host.directory, "elsewhere");
    mkdirSync(elsewhere);
    await counters.run(async ({ id, directory, logPath }) => {
      await written(logPath);
      renameSync(directory, `${directory}-moved`);
      symlinkSync(elsewhere, directory);
      await assert.rejects(
        runtime.reopenLog(id, logPath),
        (error) => isKind(error, "failed-precondition") && /is a symbolic link/.test(String(error)),
      );
      assert.deepEqual(readdirSync(elsewhere), []);
      await counters.assertWhole(id, [`${directory}-moved/0.log`]);
    });
  });

  test("discards its message to a conmon that does not read it", async () => {
    await counters.run(async ({ id, directory, logPath, target }) => {
      await written(logPath);
      process.kill(target.monitorPid, SIGSTOP);
      renameSync(logPath, `${logPath}.1`);
      const late = reopenLog({ ...target, timeoutMs: 50 });
      await assert.rejects(late, (error) => isKind(error, "deadline-exceeded"));
      assert.deepEqual(readdirSync(directory), ["0.log.1"]);
      assert.deepEqual(await leftMounts(id), []);
      process.kill(target.monitorPid, SIGCONT);
      await reopenLog(target);
      assert.deepEqual(readdirSync(directory), ["0.log", "0.log.1"]);
      await counters.assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("finishes a reopen whose daemon died before conmon got the message, or after it had opened the new file", async () => {
    for (const isSent of [false, true]) {
      await counters.run(async ({ id, directory, logPath, target }) => {
        await written(logPath);
        renameSync(logPath, `${logPath}.1`);
        {
          using opened = await LogDirectory.open(directory, { linkedRoots: [] });
          await using file = await opened.create(".0.log.new");
          await offerLog(paths, id, file.fd);
        }
        if (isSent) {
          await sendToMonitor(paths.file(id, "ctl"), "2 0 0\n");
          await until("conmon has opened it", () => !isOffered(paths, id));
        }
        await reopenLog(target);
        assert.deepEqual(readdirSync(directory), ["0.log", "0.log.1"]);
        await counters.assertWhole(id, [`${logPath}.1`, logPath]);
      });
    }
  });

  test("leaves nothing of a container whose daemon died during the reopen", async () => {
    await counters.run(async ({ id, directory }) => {
      using opened = await LogDirectory.open(directory, { linkedRoots: [] });
      await using file = await opened.create(".0.log.new");
      await offerLog(paths, id, file.fd);
      assert.equal((await leftMounts(id)).length, 1);
    });
  });

  test("delays a resize of the terminal until conmon has opened the new log", async () => {
    const logPath = join(host.logs, "terminal/0.log");
    const { id, monitor } = await host.start(runtime, { args: counting, terminal: true, logPath });
    const pid = monitor?.pid ?? 0;
    const target = { id, paths, monitorPid: pid, logPath, linkedRoots: [] };
    const gone = new AbortController();
    const client = new TestClient();
    const attached = runtime.attach(
      id,
      { streams: client.streams("stdout"), terminal: true, stdin: "none" },
      testOperation(gone.signal),
    );
    attached.catch(() => undefined);
    await written(logPath);
    renameSync(logPath, `${logPath}.1`);
    process.kill(pid, SIGSTOP);
    const reopening = reopenLog(target);
    await until("the log is offered", () => isOffered(paths, id));
    client.resize({ height: 10, width: 20 });
    // Long enough for the resize to be written, if it did not wait.
    await Promise.race([reopening, delay(100)]);
    process.kill(pid, SIGCONT);
    await reopening;
    await written(logPath);
    gone.abort();
    await counters.assertWhole(id, [`${logPath}.1`, logPath]);
    await runtime.remove(id);
    host.assertGone(id);
  });
});

describe("reopenLog() of a container that an older davit has started", () => {
  test("loses no line, and creates a file where conmon would follow a link", async () => {
    const directory = join(host.logs, "older");
    const canary = join(host.directory, "older-canary");
    const logPath = join(directory, "0.log");
    writeFileSync(canary, "canary");
    mkdirSync(directory);
    const bundle = host.bundle({ args: counting, logPath });
    await startAsOlderDavit(host.state, bundle);
    const later = await host.runtime({ monitor: "conmon" });
    assert.ok((await later.loadUnrecorded(bundle.id)) !== undefined);
    const files: string[] = [];
    for (const obstacle of [
      () => undefined,
      makeFifo,
      (path: string) => symlinkSync(canary, path),
    ]) {
      await written(logPath);
      renameSync(logPath, `${logPath}.${String(files.length)}`);
      files.push(`${logPath}.${String(files.length)}`);
      obstacle(`${logPath}.tmp`);
      await later.reopenLog(bundle.id, logPath);
    }
    assert.equal(readFileSync(canary, "utf8"), "canary");
    await counters.assertWhole(bundle.id, [...files, logPath], later);
    await later.remove(bundle.id);
    host.assertGone(bundle.id);
  });
});
