import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, mock, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import { Checkpointer } from "./checkpointer.ts";
import { Records } from "./index.ts";
import { fullSandbox, MemoryLogger, temporaryDirectory, until } from "./testing/sample.ts";

const never = 1 << 30;

describe("Checkpointer", () => {
  test("empties the log when it has grown", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await using records = Records.open(path, {
      logger: silentLogger,
      checkpoint: { walBytes: 100_000, quietMs: never },
    });
    records.sandboxes.put(fullSandbox("a"));
    const little = records.walBytes();
    assert.ok(little > 0 && little < 100_000);
    for (let n = 0; records.walBytes() < 100_000; n++) records.sandboxes.put(fullSandbox(`${n}`));
    await until("the log is empty", () => records.walBytes() === 0);
    // Everything is in one file now.
    assert.ok(readFileSync(path).includes("pod-a_default_uid-a_2"));
  });

  test("leaves the log alone below its limits", async () => {
    using directory = temporaryDirectory();
    await using records = Records.open(join(directory.path, "davit.db"), {
      logger: silentLogger,
      checkpoint: { walBytes: never, quietMs: never },
    });
    for (let n = 0; n < 100; n++) {
      records.sandboxes.put({ ...fullSandbox("a"), bootId: `${n}` });
      await new Promise(setImmediate);
    }
    assert.ok(records.walBytes() > 100 * 4096);
  });

  test("empties the log after a quiet time", async () => {
    using directory = temporaryDirectory();
    await using records = Records.open(join(directory.path, "davit.db"), {
      logger: silentLogger,
      checkpoint: { walBytes: never, quietMs: 10 },
    });
    for (let round = 0; round < 3; round++) {
      records.sandboxes.put(fullSandbox(`${round}`));
      assert.ok(records.walBytes() > 0);
      await until("the log is empty", () => records.walBytes() === 0);
    }
    assert.equal(records.sandboxes.load().length, 3);
  });

  test("empties a log that it found at the start", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await using living = Records.open(path, {
      logger: silentLogger,
      checkpoint: { walBytes: never, quietMs: never },
    });
    living.sandboxes.put(fullSandbox("a"));
    await using records = Records.open(path, {
      logger: silentLogger,
      checkpoint: { walBytes: never, quietMs: 1 },
    });
    await until("the log is empty", () => records.walBytes() === 0);
  });

  test("loses nothing that is written while it works, and cuts the log in the end", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const expected = new Map<string, string>();
    {
      await using records = Records.open(path, {
        logger: silentLogger,
        checkpoint: { walBytes: 20_000, quietMs: 5 },
      });
      for (let n = 0; n < 2_000; n++) {
        const id = `sandbox-${n % 60}`;
        records.sandboxes.put({ ...fullSandbox(id), bootId: `${n}` });
        expected.set(id, `${n}`);
        // Each write of a burst hits another point of the checkpoint in progress.
        if (n % 3 === 0) await new Promise(setImmediate);
      }
      await until("the log is empty", () => records.walBytes() === 0);
      records.sandboxes.put({ ...fullSandbox("sandbox-0"), bootId: "last" });
      expected.set("sandbox-0", "last");
    }
    await using records = Records.open(path, { logger: silentLogger });
    const loaded = new Map(records.sandboxes.load().map(({ id, bootId }) => [id, bootId]));
    assert.deepEqual([...loaded].sort(), [...expected].sort());
    assert.ok(statSync(path).size > 0);
  });

  test("closes at once in the middle of its work", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const logger = new MemoryLogger();
    for (let turns = 0; turns < 12; turns++) {
      const records = Records.open(path, { logger, checkpoint: { walBytes: 1, quietMs: 1 } });
      records.sandboxes.put(fullSandbox("a"));
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      records.sandboxes.put(fullSandbox(`${turns}`));
      await records[Symbol.asyncDispose]();
      assert.throws(() => statSync(`${path}-wal`), /ENOENT/);
    }
    await using records = Records.open(path, { logger });
    assert.equal(records.counts().sandboxes, 13);
    assert.deepEqual(logger.lines, []);
  });

  test("has everything in the database when a sync has ended, also one that began during a checkpoint", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await using records = Records.open(path, {
      logger: silentLogger,
      checkpoint: { walBytes: 1, quietMs: never },
    });
    for (let n = 0; n < 20; n++) {
      records.sandboxes.put(fullSandbox("a"));
      for (let turn = 0; turn < n; turn++) await new Promise(setImmediate);
      records.sandboxes.put(fullSandbox(`last-${n}`));
      await records.synced();
      assert.ok(readFileSync(path).includes(`pod-last-${n}_default_uid-last-${n}_2`));
    }
  });

  test("syncs each log once, a moment after it began", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    using db = new DatabaseSync(path);
    db.exec("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
    db.exec("CREATE TABLE meta (schema); PRAGMA wal_checkpoint(TRUNCATE)");
    const synced: string[] = [];
    mock.timers.enable({ apis: ["setTimeout"] });
    try {
      const checkpointer = new Checkpointer(db, {
        path,
        logger: silentLogger,
        limits: { walBytes: never, quietMs: never, beginMs: 1_000 },
        syncLog: (log) => {
          synced.push(log);
          return Promise.resolve();
        },
      });
      const write = (): void => {
        db.exec("INSERT INTO meta VALUES (1)");
        checkpointer.written();
      };
      // As after a write that failed.
      checkpointer.written();
      mock.timers.tick(1_000);
      assert.deepEqual(synced, []);
      for (const logs of [1, 2]) {
        write();
        mock.timers.tick(999);
        write();
        assert.equal(synced.length, logs - 1);
        mock.timers.tick(1);
        assert.deepEqual(
          synced,
          Array.from({ length: logs }, () => `${path}-wal`),
        );
        write();
        mock.timers.tick(10_000);
        assert.equal(synced.length, logs);
        await checkpointer.sync();
        assert.equal(checkpointer.walBytes(), 0);
      }
      write();
      await checkpointer.finish();
      mock.timers.tick(10_000);
      assert.equal(synced.length, 2);
      await checkpointer.release();
    } finally {
      mock.timers.reset();
    }
  });

  test("syncs a log that it found at the start", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    using db = new DatabaseSync(path);
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE meta (schema)");
    const { promise, resolve } = Promise.withResolvers<string>();
    const checkpointer = new Checkpointer(db, {
      path,
      logger: silentLogger,
      limits: { walBytes: never, quietMs: never, beginMs: 1 },
      syncLog: (log) => {
        resolve(log);
        return Promise.resolve();
      },
    });
    const alive = setInterval(() => undefined, 1_000);
    assert.equal(await promise, `${path}-wal`);
    clearInterval(alive);
    await checkpointer.finish();
    await checkpointer.release();
  });

  test("rejects a sync that fails", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await using records = Records.open(path, {
      logger: silentLogger,
      checkpoint: { walBytes: never, quietMs: never },
    });
    records.sandboxes.put(fullSandbox("a"));
    using raw = new DatabaseSync(path);
    raw.exec("ALTER TABLE meta RENAME TO hidden");
    await assert.rejects(records.synced(), /sync records ".*davit.db": .*meta/);
    raw.exec("ALTER TABLE hidden RENAME TO meta");
    await records.synced();
    assert.equal(records.walBytes(), 0);
  });

  test("logs a failure, waits, and continues when it works again", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const logger = new MemoryLogger();
    await using records = Records.open(path, { logger, checkpoint: { walBytes: 1, quietMs: 5 } });
    // A missing table makes the fence fail, as any disk error does.
    using raw = new DatabaseSync(path);
    raw.exec("ALTER TABLE meta RENAME TO hidden");
    records.sandboxes.put(fullSandbox("a"));
    await until("two failures are logged", () => logger.of("warn").length >= 2);
    const [first, second] = logger.of("warn");
    assert.match(first?.message ?? "", /checkpoint of the records failed/);
    assert.match(String(first?.fields["error"]), /meta/);
    assert.ok(Number(second?.fields["retryMs"]) > Number(first?.fields["retryMs"]));
    assert.ok(records.walBytes() > 0);
    raw.exec("ALTER TABLE hidden RENAME TO meta");
    await until("the log is empty", () => records.walBytes() === 0);
    assert.equal(records.sandboxes.load().length, 1);
  });

  test("lets the close make the checkpoint when its own last one fails", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const logger = new MemoryLogger();
    {
      await using records = Records.open(path, { logger });
      records.sandboxes.put(fullSandbox("a"));
      using raw = new DatabaseSync(path);
      raw.exec("ALTER TABLE meta RENAME TO hidden");
    }
    assert.equal(logger.of("warn").length, 1);
    assert.throws(() => statSync(`${path}-wal`), /ENOENT/);
    using raw = new DatabaseSync(path);
    assert.equal(raw.prepare("SELECT count(*) AS n FROM sandbox").get()?.["n"], 1);
  });
});
