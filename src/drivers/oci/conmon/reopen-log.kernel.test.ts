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
import { setTimeout as delay } from "node:timers/promises";

import { isKind } from "../../../base/errors.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import { LogDirectory } from "../../../linux/file/index.ts";
import { listMounts } from "../../../linux/mount/index.ts";
import { SIGCONT, SIGSTOP, SIGTERM } from "../../../linux/process/index.ts";
import { makeFifo } from "../../../linux/stream/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { sendToMonitor } from "./control-fifo.ts";
import type { OciRuntime } from "../index.ts";
import { isOffered, offerLog } from "./log-links.ts";
import { StateLayout } from "../state-layout.ts";
import type { LogTarget } from "../container-monitor.ts";
import { reopenLog } from "./reopen-log.ts";
import { TestClient } from "../../../core/streaming/testing/test-client.ts";
import { startAsOlderDavit } from "../testing/older-davit.ts";
import { holdings, TestHost } from "../testing/sandbox.ts";

const host = await TestHost.open();
const runtime = await host.runtime({ monitor: "conmon" });
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
  try {
    await use({ id, directory, logPath, target });
  } finally {
    await runtime.remove(id);
    host.assertGone(id);
    assert.deepEqual(await leftMounts(id), []);
  }
}

async function leftMounts(id: string): Promise<readonly string[]> {
  const mounts = await listMounts();
  return mounts.map(({ mountPoint }) => mountPoint).filter((path) => path.includes(id));
}

/** Ends the container and checks that these files contain each line once, in order. */
async function assertWhole(
  id: string,
  files: readonly string[],
  from: Pick<OciRuntime, "kill" | "wait"> = runtime,
): Promise<void> {
  await from.kill(id, SIGTERM);
  await from.wait(id, AbortSignal.timeout(20_000));
  const records = files.flatMap((file) => host.log(id, file));
  const text = records.map(([, tag, part]) => `${part}${tag === "F" ? "\n" : ""}`).join("");
  const lines = text.replaceAll("\r", "").trimEnd().split("\n");
  assert.deepEqual(lines, [...lines.slice(0, -1).map((_, n) => String(n + 1)), "end"]);
}

async function written(file: string): Promise<void> {
  await until(`something in ${file}`, () => existsSync(file) && readFileSync(file).length > 0);
}

const hiddenOf = (directory: string): string => join(directory, ".0.log.new");

describe("reopenLog()", () => {
  test("follows no link and waits for no fifo in the directory", async () => {
    const canary = join(host.directory, "canary");
    writeFileSync(canary, "canary");
    await withCounter(async ({ id, directory, logPath }) => {
      const before = holdings();
      const names = ["0.log", "0.log.tmp", ".0.log.new", ".0.log.probe"];
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
      await assertWhole(id, [...files, logPath]);
    });
  });

  test("fails where a directory has a name that it needs, and the old log continues", async () => {
    await withCounter(async ({ id, directory, logPath }) => {
      await written(logPath);
      renameSync(logPath, `${logPath}.1`);
      mkdirSync(hiddenOf(directory));
      await assert.rejects(runtime.reopenLog(id, logPath), /\.0\.log\.new/);
      assert.ok(!existsSync(logPath));
      rmSync(hiddenOf(directory), { recursive: true });
      await runtime.reopenLog(id, logPath);
      await assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("refuses a directory that was replaced by a link", async () => {
    const elsewhere = join(host.directory, "elsewhere");
    mkdirSync(elsewhere);
    await withCounter(async ({ id, directory, logPath }) => {
      await written(logPath);
      renameSync(directory, `${directory}-moved`);
      symlinkSync(elsewhere, directory);
      await assert.rejects(
        runtime.reopenLog(id, logPath),
        (error) => isKind(error, "failed-precondition") && /is a symbolic link/.test(String(error)),
      );
      assert.deepEqual(readdirSync(elsewhere), []);
      await assertWhole(id, [`${directory}-moved/0.log`]);
    });
  });

  test("discards its message to a conmon that does not read it", async () => {
    await withCounter(async ({ id, directory, logPath, target }) => {
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
      await assertWhole(id, [`${logPath}.1`, logPath]);
    });
  });

  test("finishes a reopen whose daemon died before conmon got the message, or after it had opened the new file", async () => {
    for (const isSent of [false, true]) {
      await withCounter(async ({ id, directory, logPath, target }) => {
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
        await assertWhole(id, [`${logPath}.1`, logPath]);
      });
    }
  });

  test("leaves nothing of a container whose daemon died during the reopen", async () => {
    await withCounter(async ({ id, directory }) => {
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
    await assertWhole(id, [`${logPath}.1`, logPath]);
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
    await assertWhole(bundle.id, [...files, logPath], later);
    await later.remove(bundle.id);
    host.assertGone(bundle.id);
  });
});
