import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import type { LogSelection } from "../../core/container/index.ts";
import { makeFifo } from "../../linux/stream/index.ts";
import { openFds } from "../../linux/testing/leaks.ts";
import { FileLogs } from "./file-logs.ts";

const outer = mkdtempSync(join(tmpdir(), "davit-logs-"));
after(() => rmSync(outer, { recursive: true }));

let dir = "";
let count = 0;
beforeEach(() => {
  dir = join(outer, String(count++));
  mkdirSync(dir);
});

const never = new AbortController().signal;
const line = (text: string): string => `1970-01-01T00:00:01.000000002Z stdout F ${text}\n`;

async function read(
  logs: FileLogs,
  path: string,
  selection: LogSelection = {},
  signal = never,
): Promise<string[]> {
  const found: string[] = [];
  for await (const lines of logs.read(path, selection, signal)) {
    found.push(...lines.map(({ text }) => Buffer.from(text).toString()));
  }
  return found;
}

const following = { follow: { ended: never } };

describe("FileLogs", () => {
  test("follows a log whose directory does not exist yet, and is replaced", async () => {
    const directory = join(dir, "pod");
    const path = join(directory, "0.log");
    const logs = new FileLogs();
    await assert.rejects(read(logs, path), { kind: "not-found" });
    const ended = new AbortController();
    const found: string[] = [];
    const steps = [
      () => {
        mkdirSync(directory);
        writeFileSync(path, line("a"));
      },
      () => {
        renameSync(directory, `${directory}.old`);
        mkdirSync(directory);
        writeFileSync(path, line("b"));
      },
      () => ended.abort(),
    ];
    for await (const lines of logs.read(path, { follow: { ended: ended.signal } }, never)) {
      found.push(...lines.map(({ text }) => Buffer.from(text).toString()));
      steps.shift()?.();
    }
    assert.deepEqual(found, ["a", "b"]);
  });

  test("follows no symbolic link in the path of a log, except in the roots of logs", async () => {
    mkdirSync(join(dir, "real"));
    writeFileSync(join(dir, "real", "0.log"), line("secret"));
    symlinkSync("real", join(dir, "linked"));
    const path = join(dir, "linked", "0.log");
    for (const selection of [{}, following]) {
      await assert.rejects(read(new FileLogs(), path, selection), {
        kind: "failed-precondition",
        message: /linked" is a symbolic link/,
      });
    }
    assert.deepEqual(await read(new FileLogs([join(dir, "linked")]), path), ["secret"]);
    // The file itself never.
    symlinkSync("0.log", join(dir, "real", "1.log"));
    makeFifo(join(dir, "real", "2.log"));
    mkdirSync(join(dir, "real", "3.log"));
    for (const [name, words] of [
      ["1.log", /it is a symbolic link, not a file/],
      ["2.log", /it is a named pipe, not a file/],
      ["3.log", /it is a directory, not a file/],
    ] as const) {
      const reading = read(new FileLogs(), join(dir, "real", name), following);
      await assert.rejects(reading, { kind: "failed-precondition", message: words });
    }
  });

  test("opens no file through a directory that becomes a link while its log is followed", async () => {
    const path = join(dir, "pod", "0.log");
    mkdirSync(join(dir, "pod"));
    mkdirSync(join(dir, "other"));
    writeFileSync(path, line("a"));
    writeFileSync(join(dir, "other", "0.log"), line("secret"));
    const found: string[] = [];
    const follow = async (): Promise<void> => {
      for await (const lines of new FileLogs().read(path, following, never)) {
        found.push(...lines.map(({ text }) => Buffer.from(text).toString()));
        if (lines.length === 0) continue;
        renameSync(join(dir, "pod"), join(dir, "pod.old"));
        symlinkSync("other", join(dir, "pod"));
      }
    };
    await assert.rejects(follow(), { kind: "failed-precondition" });
    assert.deepEqual(found, ["a"]);
  });

  test("reads 64 logs at once, and refuses more", async () => {
    const path = join(dir, "0.log");
    writeFileSync(path, line("a"));
    const logs = new FileLogs();
    const before = openFds().size;
    const caller = new AbortController();
    const reads = Array.from({ length: 64 }, () => logs.read(path, following, caller.signal));
    for (const each of reads) await each.next();
    await assert.rejects(read(logs, path), {
      kind: "resource-exhausted",
      message: /64 logs are being read or followed/,
    });
    await reads[0]?.return(undefined);
    assert.deepEqual(await read(logs, path), ["a"]);
    caller.abort();
    for (const each of reads) await each.return(undefined);
    assert.equal(openFds().size, before);
  });

  test("loses no line of a reader that is several rotations behind, and says so beyond that", async () => {
    for (const [rotations, isTooMany] of [
      [4, false],
      [5, true],
    ] as const) {
      const path = join(dir, `${rotations}.log`);
      writeFileSync(path, line("0"));
      const ended = new AbortController();
      const before = openFds().size;
      const logs = new FileLogs();
      const reading = logs.read(path, { follow: { ended: ended.signal } }, never);
      await reading.next();
      for (let n = 1; n <= rotations; n += 1) {
        renameSync(path, `${path}.old`);
        writeFileSync(path, line(String(n)));
        await logs.rotated(path);
        rmSync(`${path}.old`);
      }
      rmSync(path);
      ended.abort();
      const found: string[] = [];
      const readAll = async (): Promise<void> => {
        for await (const lines of reading) {
          found.push(...lines.map(({ text }) => Buffer.from(text).toString()));
        }
      };
      if (isTooMany) {
        const words = { kind: "resource-exhausted", message: /does not keep up, and lines are/ };
        await assert.rejects(readAll(), words);
      } else {
        await readAll();
      }
      assert.deepEqual(found, ["0", "1", "2", "3", "4"]);
      assert.equal(openFds().size, before);
    }
  });

  test("reads a file once that it has found before its rotation was reported", async () => {
    const path = join(dir, "0.log");
    writeFileSync(path, line("a"));
    const ended = new AbortController();
    const logs = new FileLogs();
    const found: string[] = [];
    const steps = [
      () => Promise.resolve(),
      () => {
        renameSync(path, `${path}.old`);
        writeFileSync(path, line("b"));
        return Promise.resolve();
      },
      async () => {
        await logs.rotated(path);
        renameSync(path, `${path}.old`);
        writeFileSync(path, line("c"));
        await logs.rotated(path);
      },
      () => {
        ended.abort();
        return Promise.resolve();
      },
    ];
    for await (const lines of logs.read(path, { follow: { ended: ended.signal } }, never)) {
      found.push(...lines.map(({ text }) => Buffer.from(text).toString()));
      await steps.shift()?.();
    }
    assert.deepEqual(found, ["a", "b", "c"]);
  });

  test("ends its readers when davit stops, and has no others then", async () => {
    const path = join(dir, "0.log");
    writeFileSync(path, line("a"));
    const logs = new FileLogs();
    const reading = read(logs, path, following);
    const reason = new Error("davit is shutting down");
    logs.close(reason);
    await assert.rejects(reading, reason);
    await assert.rejects(read(logs, path), reason);
  });
});
