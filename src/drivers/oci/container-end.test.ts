import assert from "node:assert/strict";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { silentLogger } from "../../base/logger.ts";
import { parseOomKills } from "../../linux/cgroup/index.ts";
import { awaitExit, readExitFile, type WatchedProcess } from "./container-end.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-end-"));
const exitFile = join(directory, "id");
const clock = { nowNs: () => 77n, nowMs: () => 0 };

after(() => {
  rmSync(directory, { recursive: true, force: true });
});

function watched(
  endsAt = 9,
): WatchedProcess & { readonly signals: readonly number[]; end(): void } {
  const { promise: exited, resolve } = Promise.withResolvers<undefined>();
  const signals: number[] = [];
  const end = (): void => {
    resolve(undefined);
  };
  const kill = (signal: number): void => {
    signals.push(signal);
    if (signal === endsAt) end();
  };
  return { pid: 1, exited, kill, signals, end };
}

describe("awaitExit()", () => {
  test("is unknown, and now, when conmon ended without a record", async () => {
    const [process, monitor] = [watched(), watched()];
    const end = awaitExit({ process, monitor, exitFile, clock, log: silentLogger });
    monitor.end();
    process.end();
    assert.deepEqual(await end, { exitCode: 255, finishedAtNs: 77n, unknown: true });
    assert.deepEqual(monitor.signals, []);
  });

  test("sends SIGCONT to a conmon that does not record the exit, and then kills it", async () => {
    const monitor = watched();
    const timeouts = { continueMs: 1, killMs: 20 };
    const process = undefined;
    const end = await awaitExit({ process, monitor, exitFile, clock, log: silentLogger, timeouts });
    assert.equal(end.unknown, true);
    assert.deepEqual(monitor.signals, [18, 9]);
  });

  test("does not kill a stopped conmon that continues", async () => {
    const monitor = watched(18);
    const timeouts = { continueMs: 1, killMs: 60_000 };
    const process = undefined;
    await awaitExit({ process, monitor, exitFile, clock, log: silentLogger, timeouts });
    assert.deepEqual(monitor.signals, [18]);
  });
});

test("readExitFile() takes the time from the file; an invalid exit code is unknown", () => {
  const path = join(directory, "other");
  assert.equal(readExitFile(path), undefined);
  for (const [content, exitCode, unknown] of [
    ["0", 0, false],
    ["137", 137, false],
    ["-1", 255, true],
    ["", 255, true],
  ] as const) {
    writeFileSync(path, content);
    utimesSync(path, 5, 5);
    assert.deepEqual(readExitFile(path), {
      exitCode,
      finishedAtNs: 5_000_000_000n,
      unknown,
    });
  }
});

test("parseOomKills() counts kills in both versions' files, and nothing else", () => {
  assert.equal(parseOomKills("oom_kill_disable 0\nunder_oom 1\noom_kill 2\n"), 2);
  assert.equal(parseOomKills("low 0\nhigh 9\nmax 8\noom 7\noom_kill 0\noom_group_kill 1\n"), 1);
  assert.equal(parseOomKills(""), 0);
});
