/** Logs that begin with the log of a checkpoint, in directories and from files that others can change. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { makeFifo } from "../../linux/stream/index.ts";
import { openFds } from "../../linux/testing/leaks.ts";
import { beginLog } from "./begin-log.ts";

const outer = mkdtempSync(join(tmpdir(), "davit-begin-log-"));
after(() => rmSync(outer, { recursive: true }));

let dir = "";
let count = 0;
/** The log of a checkpoint, and the log that begins with it. */
let from = "";
let log = "";
beforeEach(() => {
  dir = join(outer, String(count++));
  from = join(dir, "container.log");
  log = join(dir, "logs", "0.log");
  mkdirSync(join(dir, "logs"), { recursive: true });
});

const never = new AbortController().signal;
const line = (text: string): string => `1970-01-01T00:00:01.000000002Z stdout F ${text}\n`;
const begin = (more: { most?: number; signal?: AbortSignal } = {}) =>
  beginLog(log, from, { linkedRoots: [], signal: never, ...more });
const names = (): readonly string[] => readdirSync(join(dir, "logs"));

describe("beginLog()", () => {
  test("copies the records, once", async () => {
    writeFileSync(from, line("a") + "no record\n" + line("b"));
    const begun = await begin();
    assert.equal(begun.dropped, 1);
    assert.equal(readFileSync(log, "utf8"), line("a") + line("b"));
    assert.equal(statSync(log).mode & 0o7777, 0o640);
    assert.equal((await begin()).dropped, 0);
    assert.equal(readFileSync(log, "utf8"), line("a") + line("b"));
    assert.deepEqual(names(), ["0.log"]);
  });

  test("can be undone, but not when another file has the name", async () => {
    writeFileSync(from, line("a"));
    await (await begin()).remove();
    assert.deepEqual(names(), []);
    const { remove } = await begin();
    // It is made before the other one is gone, and has an inode of its own.
    writeFileSync(`${log}.new`, line("own"));
    renameSync(`${log}.new`, log);
    await remove();
    assert.equal(readFileSync(log, "utf8"), line("own"));
    // Nothing was begun here.
    await (await begin()).remove();
    assert.deepEqual(names(), ["0.log"]);
  });

  test("leaves a log as it is that has lines, and fills an empty one", async () => {
    writeFileSync(from, line("a"));
    writeFileSync(log, line("own"));
    await begin();
    assert.equal(readFileSync(log, "utf8"), line("own"));
    truncateSync(log, 0);
    await begin();
    assert.equal(readFileSync(log, "utf8"), line("a"));
  });

  test("makes the directory of the log, and nothing without a log of the checkpoint", async () => {
    log = join(dir, "new", "app", "0.log");
    assert.equal((await begin()).dropped, 0);
    assert.ok(!readdirSync(dir).includes("new"));
    writeFileSync(from, line("a"));
    await begin();
    assert.equal(readFileSync(log, "utf8"), line("a"));
  });

  test("copies the end of a long log, also of a sparse one of 10 GB", async () => {
    writeFileSync(from, Array.from({ length: 5_000 }, (_, at) => line(String(at))).join(""));
    const most = 1_000;
    await begin({ most });
    const text = readFileSync(log, "utf8");
    assert.ok(text.endsWith(line("4999")) && text.startsWith("1970-"), text);
    assert.ok(text.length <= most && text.length > most - line("4999").length);
    rmSync(log);
    truncateSync(from, 10 * 1024 ** 3);
    assert.equal((await begin()).dropped, 0);
    assert.equal(statSync(log).size, 0);
  });

  test("refuses a file that is not a log, and leaves nothing", async () => {
    writeFileSync(from, "\n".repeat(100_000));
    const refused = {
      kind: "invalid-argument",
      message: /^begin log ".*0\.log" with that of the checkpoint: it has more than 1000 lines/,
    };
    await assert.rejects(begin(), refused);
    assert.deepEqual(names(), []);
  });

  test("opens neither a link nor a FIFO nor a device in place of the checkpoint's log", async () => {
    const secret = join(dir, "secret");
    writeFileSync(secret, line("secret"));
    const before = openFds().size;
    for (const [make, what] of [
      [() => symlinkSync(secret, from), /it is a symbolic link, not a file/],
      [() => makeFifo(from), /it is a named pipe, not a file/],
      [() => mkdirSync(from), /it is a directory, not a file/],
      [() => execFileSync("mknod", [from, "c", "1", "5"]), /it is a device, not a file/],
    ] as const) {
      make();
      await assert.rejects(begin(), { kind: "failed-precondition", message: what });
      rmSync(from, { recursive: true });
    }
    assert.deepEqual(names(), []);
    assert.equal(openFds().size, before);
  });

  test("writes through no link at the log, at its first name or at its directory", async () => {
    writeFileSync(from, line("a"));
    const other = join(dir, "other");
    writeFileSync(other, "");
    symlinkSync(other, log);
    await assert.rejects(begin(), { kind: "failed-precondition", message: /symbolic link/ });
    rmSync(log);
    // The file that it writes first is always a new one.
    for (const make of [symlinkSync, linkSync]) {
      make(other, join(dir, "logs", ".0.log.earlier"));
      await begin();
      assert.equal(readFileSync(log, "utf8"), line("a"));
      rmSync(log);
    }
    symlinkSync(join(dir, "logs"), join(dir, "linked"));
    log = join(dir, "linked", "0.log");
    await assert.rejects(begin(), {
      kind: "failed-precondition",
      message: /"[^"]*linked" is a sym/,
    });
    assert.equal(readFileSync(other, "utf8"), "");
    assert.deepEqual(names(), []);
  });

  test("leaves nothing when its caller gives up", async () => {
    writeFileSync(from, line("a"));
    const caller = new AbortController();
    caller.abort(new Error("gone"));
    await assert.rejects(begin({ signal: caller.signal }), /gone/);
    assert.deepEqual(names(), []);
  });
});
