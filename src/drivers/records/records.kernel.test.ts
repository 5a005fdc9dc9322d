import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { Records } from "./index.ts";
import { fullSandbox, MemoryLogger, temporaryDirectory, until } from "./testing/sample.ts";

const writer = join(import.meta.dirname, "testing/writer.ts");
const hasStrace = spawnSync("strace", ["-V"]).status === 0;

/** One system call that has ended, in the order of the ends. */
interface Call {
  readonly thread: number;
  readonly name: string;
  readonly file: "database" | "log" | "other";
  readonly line: string;
}

/** Runs the writer under strace; the calls come with the writer's pid, which is its main thread. */
function trace(path: string, count: number): { readonly main: number; readonly calls: Call[] } {
  const output = `${path}.trace`;
  const traced =
    "fsync,fdatasync,sync,syncfs,sync_file_range,msync,ftruncate,pwrite64,pwritev,write";
  const child = spawnSync(
    "strace",
    [
      "-f",
      "-y",
      "-o",
      output,
      "-e",
      `trace=${traced}`,
      process.execPath,
      writer,
      path,
      "churn",
      `${count}`,
    ],
    { encoding: "utf8" },
  );
  assert.equal(child.status, 0, child.stderr);
  const calls: Call[] = [];
  const begun = new Map<number, string>();
  let main = 0;
  for (const text of readFileSync(output, "utf8").split("\n")) {
    const [, id, rest = ""] = /^(\d+) +(.*)$/.exec(text) ?? [];
    if (id === undefined) continue;
    const thread = Number(id);
    main ||= thread;
    if (rest.endsWith("<unfinished ...>")) {
      begun.set(thread, rest);
      continue;
    }
    const line = rest.startsWith("<...") ? (begun.get(thread) ?? "") : rest;
    const name = /^(\w+)\(/.exec(line)?.[1];
    if (name === undefined) continue;
    const file = line.includes(`<${path}-wal>`)
      ? "log"
      : line.includes(`<${path}>`)
        ? "database"
        : "other";
    calls.push({ thread, name, file, line });
  }
  return { main, calls };
}

const isSync = (call: Call): boolean => call.name.includes("sync");

describe("Records under strace", { skip: hasStrace ? false : "strace is not installed" }, () => {
  test("never sync on the main thread: new database, 500 writes with checkpoints, close, again", () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    for (let life = 0; life < 2; life++) {
      const { main, calls } = trace(path, 500);
      const onMain = calls.filter((call) => isSync(call) && call.thread === main);
      assert.deepEqual(onMain, []);
      // The trace contains syncs, and the writes of the main thread.
      assert.ok(calls.some((call) => isSync(call) && call.file === "log"));
      assert.ok(calls.some((call) => isSync(call) && call.file === "database"));
      assert.ok(calls.filter((call) => call.thread === main && call.file === "log").length > 500);
    }
  });

  test("sync the log before a page of it reaches the database, and the database before the log is cut", () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    // The first run creates the tables, because a new database is written without a log.
    trace(path, 1);
    const { calls } = trace(path, 500);
    let logSynced = false;
    let databaseSynced = true;
    let copied = 0;
    let cuts = 0;
    for (const call of calls) {
      if (call.file === "log" && isSync(call)) logSynced = true;
      else if (call.file === "database" && isSync(call)) {
        databaseSynced = true;
        // The next copy needs another fence.
        logSynced = false;
      } else if (call.file === "database") {
        assert.ok(logSynced, `before the log was synced: ${call.line}`);
        databaseSynced = false;
        copied++;
      } else if (call.file === "log" && call.name === "ftruncate") {
        assert.ok(databaseSynced, `before the database was synced: ${call.line}`);
        cuts++;
      }
    }
    assert.ok(copied > 10, `${copied} pages were copied`);
    assert.ok(cuts > 1, `the log was cut ${cuts} times`);
  });
});

describe("Records on a full disk", () => {
  const directory = temporaryDirectory();
  const mountPoint = join(directory.path, "disk");
  const mount = (...args: readonly string[]): void => {
    execFileSync("mount", [...args, mountPoint]);
  };

  before(() => {
    mkdirSync(mountPoint);
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs");
  });

  after(() => {
    execFileSync("umount", [mountPoint]);
    directory[Symbol.dispose]();
  });

  test("refuse a write with a clear error, keep the old state, and continue when there is space", async () => {
    const path = join(mountPoint, "davit.db");
    const logger = new MemoryLogger();
    const written: string[] = [];
    let failure: unknown;
    await using records = Records.open(path, {
      logger,
      checkpoint: { walBytes: 1 << 30, quietMs: 20 },
    });
    while (failure === undefined && written.length < 10_000) {
      const id = `sandbox-${written.length}`;
      try {
        records.sandboxes.put(fullSandbox(id));
        written.push(id);
      } catch (error) {
        failure = error;
      }
    }
    assert.ok(isKind(failure, "resource-exhausted"), String(failure));
    assert.match(
      String(failure),
      new RegExp(`write sandbox "sandbox-${written.length}" in records "${path}"`),
    );
    assert.match(String(failure), /free space/);
    // The free space suffices for a few updates. The first one that fails keeps the previous value.
    let last = fullSandbox("sandbox-0").bootId;
    assert.throws(() => {
      for (let n = 0; n < 10_000; n++) {
        records.sandboxes.put({ ...fullSandbox("sandbox-0"), bootId: `${n}` });
        last = `${n}`;
      }
    }, /free space/);
    const loaded = records.sandboxes.load();
    assert.deepEqual(
      loaded.map(({ id }) => id),
      written,
    );
    assert.equal(loaded[0]?.bootId, last);

    // Checkpoints need space, too. They fail, log it, and succeed when there is some.
    await until("a failed checkpoint is logged", () => logger.of("warn").length > 0);
    mount("-o", "remount,size=8m");
    records.sandboxes.put(fullSandbox("more"));
    await until("the log is empty", () => records.walBytes() === 0);
    assert.equal(records.sandboxes.load().length, written.length + 1);
  });

  test("can be opened for reading, and written as soon as there is space", async () => {
    mount("-o", "remount,size=8m");
    const filler = join(mountPoint, "filler");
    const path = join(mountPoint, "other.db");
    {
      await using records = Records.open(path, { logger: silentLogger });
      records.sandboxes.put(fullSandbox("a"));
    }
    const mostly = spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=4096"], {
      encoding: "utf8",
    });
    assert.match(mostly.stderr, /No space/);
    const logger = new MemoryLogger();
    {
      await using records = Records.open(path, { logger });
      assert.match(String(logger.of("error")[0]?.fields["error"]), /the disk is full; free space/);
      assert.equal(records.canBeWritten(), false);
      assert.deepEqual(
        records.sandboxes.load().map(({ id }) => id),
        ["a"],
      );
      assert.throws(
        () => {
          records.sandboxes.put(fullSandbox("b"));
        },
        (error) => isKind(error, "resource-exhausted") && String(error).includes(path),
      );
      rmSync(filler);
      records.sandboxes.put(fullSandbox("c"));
      assert.equal(records.canBeWritten(), true);
    }
    await using records = Records.open(path, { logger: silentLogger });
    assert.deepEqual(
      records.sandboxes.load().map(({ id }) => id),
      ["a", "c"],
    );
  });

  test("that is read-only can be read, its log included, and refuses writes in clear words", async () => {
    const path = join(mountPoint, "readonly.db");
    const crashed = join(mountPoint, "crashed.db");
    const missing = join(mountPoint, "missing/davit.db");
    {
      await using records = Records.open(path, { logger: silentLogger });
      records.sandboxes.put(fullSandbox("a"));
      for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, crashed + suffix);
    }
    mount("-o", "remount,ro");
    try {
      for (const [each, count] of [
        [path, 1],
        [crashed, 1],
        [missing, 0],
      ] as const) {
        await using records = Records.open(each, { logger: silentLogger });
        assert.equal(records.counts().sandboxes, count, each);
        assert.throws(
          () => {
            records.sandboxes.put(fullSandbox("b"));
          },
          (error) => isKind(error, "permission-denied") && String(error).includes(each),
          each,
        );
      }
    } finally {
      mount("-o", "remount,rw");
    }
    await using records = Records.open(path, { logger: silentLogger });
    assert.equal(records.counts().sandboxes, 1);
  });

  test("that is full or read-only and has damaged records begins without them", async () => {
    const path = join(mountPoint, "damaged.db");
    writeFileSync(path, "garbage ".repeat(1000));
    mount("-o", "remount,ro");
    const logger = new MemoryLogger();
    try {
      await using records = Records.open(path, { logger });
      assert.deepEqual(records.sandboxes.load(), []);
      assert.match(logger.of("error")[0]?.message ?? "", /is damaged and its disk is not writable/);
    } finally {
      mount("-o", "remount,rw");
    }
  });
});
