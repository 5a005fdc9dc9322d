import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { Records } from "./index.ts";
import { migrate, migrations, readSchema } from "./schema.ts";
import {
  fullAttachment,
  fullContainer,
  fullImage,
  fullSandbox,
  MemoryLogger,
  temporaryDirectory,
} from "./testing/sample.ts";

async function filled(path: string, count = 60): Promise<void> {
  await using records = Records.open(path, { logger: silentLogger });
  for (let n = 0; n < count; n++) records.sandboxes.put(fullSandbox(`sandbox-${n}`));
}

function contents(directory: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(directory)
      .sort()
      .map((name) => [name, readFileSync(join(directory, name)).toString("base64")]),
  );
}

describe("Records.open()", () => {
  test("refuses a database of a newer schema and does not change it", async () => {
    using directory = temporaryDirectory();
    const source = join(directory.path, "source.db");
    await filled(source, 3);
    // A newer davit that was killed leaves its last writes only in the log.
    const newer = new DatabaseSync(source);
    newer.exec("PRAGMA wal_autocheckpoint = 0; UPDATE meta SET schema = 99; CREATE TABLE more (x)");
    const root = join(directory.path, "root");
    const path = join(root, "davit.db");
    mkdirSync(root);
    for (const suffix of ["", "-wal"]) copyFileSync(source + suffix, path + suffix);
    newer.close();
    assert.ok(statSync(`${path}-wal`).size > 0);

    const before = contents(root);
    const logger = new MemoryLogger();
    assert.throws(
      () => Records.open(path, { logger }),
      (error) =>
        isKind(error, "failed-precondition") &&
        /version 99, this davit knows up to 3; it cannot read its records of \d+ pods, /.test(
          String(error),
        ) &&
        String(error).includes(path),
    );
    // The index of the log has no content; SQLite creates it when it is missing.
    const { "davit.db-shm": _index, ...after } = contents(root);
    assert.deepEqual(after, before);
    assert.deepEqual(logger.lines, []);
  });

  test("refuses a SQLite database of another program", () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    {
      using foreign = new DatabaseSync(path);
      foreign.exec("CREATE TABLE bookmarks (url TEXT)");
    }
    const before = contents(directory.path);
    assert.throws(
      () => Records.open(path, { logger: silentLogger }),
      (error) => isKind(error, "failed-precondition") && /not one of davit/.test(String(error)),
    );
    assert.deepEqual(contents(directory.path), before);
  });

  const damages: Readonly<Record<string, (path: string) => void>> = {
    "a garbage header": (path) => {
      writeFileSync(path, Buffer.alloc(100, "garbage "), { flag: "r+" });
    },
    "nothing but zeros": (path) => {
      writeFileSync(path, Buffer.alloc(50_000));
    },
    "nothing but garbage": (path) => {
      writeFileSync(path, Buffer.alloc(50_000, "garbage "));
    },
    "its second half cut off": (path) => {
      truncateSync(path, statSync(path).size / 2);
    },
    "all but 100 bytes cut off": (path) => {
      truncateSync(path, 100);
    },
    "garbage in the middle": (path) => {
      const bytes = readFileSync(path);
      bytes.fill(0xa5, bytes.length / 2, bytes.length / 2 + 8192);
      writeFileSync(path, bytes);
    },
    "no schema version": (path) => {
      using db = new DatabaseSync(path);
      db.exec("DELETE FROM meta");
    },
  };

  for (const [what, damage] of Object.entries(damages)) {
    test(`moves a database with ${what} aside and begins with a fresh one`, async () => {
      using directory = temporaryDirectory();
      const path = join(directory.path, "davit.db");
      await filled(path);
      damage(path);
      const bytes = readFileSync(path);
      writeFileSync(`${path}-wal`, "");
      const logger = new MemoryLogger();
      const clock = { nowMs: () => 1234, nowNs: () => 0n };
      {
        await using records = Records.open(path, { logger, clock });
        assert.deepEqual(new Set(Object.values(records.counts())), new Set([0]));
        records.sandboxes.put(fullSandbox("new"));
      }
      assert.deepEqual(readFileSync(`${path}.corrupt-1234`), bytes);
      const [line, ...others] = logger.lines;
      assert.deepEqual(others, []);
      assert.equal(line?.level, "error");
      assert.equal(line.fields["movedTo"], `${path}.corrupt-1234`);
      assert.ok(line.fields["damage"]);
      await using again = Records.open(path, { logger });
      assert.equal(again.sandboxes.load().length, 1);
    });
  }

  test("keeps the first damaged database when a second one follows in the same millisecond", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const clock = { nowMs: () => 7, nowNs: () => 0n };
    for (const text of ["first ", "second "]) {
      writeFileSync(path, text.repeat(1000));
      await using _records = Records.open(path, { logger: silentLogger, clock });
    }
    assert.match(readFileSync(`${path}.corrupt-7`, "utf8"), /^first/);
    assert.match(readFileSync(`${path}.corrupt-8`, "utf8"), /^second/);
  });

  test("takes an empty file, as a power cut may leave it, for a new database", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    writeFileSync(path, "");
    const logger = new MemoryLogger();
    await using records = Records.open(path, { logger });
    records.sandboxes.put(fullSandbox("a"));
    assert.deepEqual(logger.lines, []);
  });

  test("undoes what a daemon that was killed had written of a new database", async () => {
    using directory = temporaryDirectory();
    const source = join(directory.path, "source.db");
    using living = new DatabaseSync(source);
    living.exec("PRAGMA journal_mode = DELETE; PRAGMA user_version = 1");
    // With so small a cache, the database is written before the end of the transaction.
    living.exec("PRAGMA cache_size = 1; BEGIN; CREATE TABLE half (made)");
    const insert = living.prepare("INSERT INTO half VALUES (zeroblob(3000))");
    for (let n = 0; n < 50; n++) insert.run();
    const path = join(directory.path, "davit.db");
    for (const suffix of ["", "-journal"]) copyFileSync(source + suffix, path + suffix);
    const logger = new MemoryLogger();
    await using records = Records.open(path, { logger });
    records.sandboxes.put(fullSandbox("a"));
    assert.ok(records.canBeWritten());
    assert.deepEqual(logger.lines, []);
    assert.equal(existsSync(`${path}-journal`), false);
  });

  for (const [what, bytes] of Object.entries({
    "only its first page": 4096,
    "zeros in place of its pages": 0,
  })) {
    test(`starts with a new database of which a power cut left ${what}`, async () => {
      using directory = temporaryDirectory();
      const path = join(directory.path, "davit.db");
      {
        using made = new DatabaseSync(path);
        made.exec("PRAGMA journal_mode = WAL");
      }
      const whole = readFileSync(path);
      writeFileSync(path, Buffer.concat([whole.subarray(0, bytes), Buffer.alloc(12_288 - bytes)]));
      if (bytes > 0) truncateSync(path, bytes);
      // The log's header is there, and its frames are not.
      writeFileSync(`${path}-wal`, Buffer.alloc(8_192));
      const logger = new MemoryLogger();
      await using records = Records.open(path, { logger });
      records.sandboxes.put(fullSandbox("a"));
      assert.deepEqual(
        logger.lines.map(({ level, message }) => `${level} ${message}`),
        bytes > 0 ? [] : ["error the database is damaged; moved it aside and created a new one"],
      );
    });
  }

  test("recovers the log of a killed daemon, also without its index", async () => {
    using directory = temporaryDirectory();
    const source = join(directory.path, "source.db");
    await using living = Records.open(source, { logger: silentLogger });
    for (let n = 0; n < 9; n++) living.sandboxes.put(fullSandbox(`sandbox-${n}`));
    const path = join(directory.path, "davit.db");
    for (const suffix of ["", "-wal"]) copyFileSync(source + suffix, path + suffix);
    await using records = Records.open(path, { logger: silentLogger });
    assert.equal(records.sandboxes.load().length, 9);
  });

  /** What a power cut can leave of a log that was not synced, and the records that must be there. */
  const cuts: Readonly<Record<string, readonly [(log: string) => void, number]>> = {
    "is missing": [(log) => rmSync(log), 60],
    "is empty": [(log) => truncateSync(log), 60],
    "is nothing but zeros": [(log) => writeFileSync(log, Buffer.alloc(statSync(log).size)), 60],
    "ends in the middle of a frame": [(log) => truncateSync(log, statSync(log).size - 100), 68],
    "ends in zeros": [
      (log) => {
        const { size } = statSync(log);
        truncateSync(log, size - 100);
        truncateSync(log, size);
      },
      68,
    ],
  };

  for (const [what, [cut, count]] of Object.entries(cuts)) {
    test(`has the records before a power cut whose log ${what}`, async () => {
      using directory = temporaryDirectory();
      const source = join(directory.path, "source.db");
      await filled(source);
      await using living = Records.open(source, { logger: silentLogger });
      for (let n = 0; n < 9; n++) living.sandboxes.put(fullSandbox(`later-${n}`));
      const path = join(directory.path, "davit.db");
      for (const suffix of ["", "-wal"]) copyFileSync(source + suffix, path + suffix);
      cut(`${path}-wal`);
      const logger = new MemoryLogger();
      await using records = Records.open(path, { logger });
      assert.equal(records.sandboxes.load().length, count);
      records.sandboxes.put(fullSandbox("new"));
      assert.deepEqual(logger.lines, []);
    });
  }

  test("begins a fresh one where a power cut has left the log of a database that is empty", async () => {
    using directory = temporaryDirectory();
    const source = join(directory.path, "source.db");
    await using living = Records.open(source, { logger: silentLogger });
    living.sandboxes.put(fullSandbox("a"));
    const path = join(directory.path, "davit.db");
    copyFileSync(`${source}-wal`, `${path}-wal`);
    writeFileSync(path, "");
    const logger = new MemoryLogger();
    await using records = Records.open(path, { logger });
    records.sandboxes.put(fullSandbox("b"));
    assert.deepEqual(
      records.sandboxes.load().map(({ id }) => id),
      ["b"],
    );
    assert.deepEqual(logger.lines, []);
  });

  test("migrates a database of schema 1 with all its rows, and adds the new tables", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const { requestBytes, resourcesBytes, unfinished: _last, ...full } = fullSandbox("a");
    const { selinux: _later, ownIds: _latest, ...sandbox } = full;
    const { sandboxId, ...attachment } = fullAttachment("a");
    {
      // Written out here and not taken from the row files, because disks have these texts.
      using old = new DatabaseSync(path);
      migrate(old, 100, migrations.slice(0, 1));
      const { createdAtNs, bootId, state, handler, cgroup, process, netnsPath, network } = sandbox;
      const own = { bootId, state, handler, cgroup, process, netnsPath, network };
      const json = JSON.stringify({ v: 1, createdAtNs: String(createdAtNs), ...own });
      old
        .prepare("INSERT INTO sandbox VALUES (?, ?, 1, 5, ?, ?, ?)")
        .run("a", sandbox.name, requestBytes, resourcesBytes, json);
      old
        .prepare("INSERT INTO attachment VALUES (?, 1, ?)")
        .run(sandboxId, JSON.stringify({ v: 1, ...attachment }));
      old.exec("INSERT INTO set_aside VALUES (7, 'sandbox', 'lost', 'why', 9, x'7b7d')");
    }
    const logger = new MemoryLogger();
    for (let twice = 0; twice < 2; twice++) {
      await using records = Records.open(path, { logger });
      const [loaded] = records.sandboxes.load();
      assert.ok(loaded);
      assert.deepEqual(
        { ...loaded, config: 0, requestBytes: 0, resourcesBytes: 0 },
        { ...sandbox, config: 0, requestBytes: 0, resourcesBytes: 0 },
      );
      assert.deepEqual([...loaded.requestBytes], [...requestBytes]);
      assert.deepEqual([...(loaded.resourcesBytes ?? [])], [...resourcesBytes]);
      assert.deepEqual(records.attachments.load(), [fullAttachment("a")]);
      assert.deepEqual(records.setAside(), [{ kind: "sandbox", id: "lost", reason: "why" }]);
      records.containers.put(fullContainer("c"));
      records.images.put(fullImage("1"));
      assert.equal(records.containers.load().length, 1);
      assert.equal(records.images.load().length, 1);
    }
    assert.deepEqual(logger.lines, []);
    using raw = new DatabaseSync(path);
    assert.deepEqual(readSchema(raw), { kind: "version", version: 3 });
    assert.equal(raw.prepare("SELECT created_at FROM meta").get()?.["created_at"], 100);
    const kept = raw.prepare("SELECT recorded_at FROM sandbox").get();
    assert.equal(kept?.["recorded_at"], 5);
  });

  test("names the path that it could not create", () => {
    using directory = temporaryDirectory();
    writeFileSync(join(directory.path, "file"), "");
    const path = join(directory.path, "file/davit.db");
    assert.throws(
      () => Records.open(path, { logger: silentLogger }),
      (error) =>
        String(error).includes(`open records "${path}"`) && /ENOTDIR|EEXIST/.test(String(error)),
    );
    assert.ok(!existsSync(path));
  });
});

describe("migrate()", () => {
  const steps = [
    `CREATE TABLE meta (one INTEGER PRIMARY KEY, schema INTEGER, created_at INTEGER);
     CREATE TABLE pods (id TEXT); INSERT INTO pods VALUES ('a');`,
    "ALTER TABLE pods ADD COLUMN colour TEXT; UPDATE pods SET colour = 'red';",
    "ALTER TABLE pods ADD COLUMN size INTEGER;",
  ];

  test("takes only the steps that are missing, and keeps when the database began", () => {
    using db = new DatabaseSync(":memory:");
    migrate(db, 100, steps.slice(0, 1));
    assert.deepEqual(readSchema(db), { kind: "version", version: 1 });
    migrate(db, 200, steps);
    migrate(db, 300, steps);
    assert.deepEqual(readSchema(db), { kind: "version", version: 3 });
    assert.deepEqual(
      { ...db.prepare("SELECT * FROM pods").get() },
      { id: "a", colour: "red", size: null },
    );
    assert.equal(db.prepare("SELECT created_at FROM meta").get()?.["created_at"], 100);
  });

  test("leaves the old schema when one step fails", () => {
    using db = new DatabaseSync(":memory:");
    migrate(db, 100, steps.slice(0, 1));
    const broken = [...steps.slice(0, 2), "ALTER TABLE nowhere ADD COLUMN x"];
    assert.throws(() => migrate(db, 200, broken), /nowhere/);
    assert.deepEqual(readSchema(db), { kind: "version", version: 1 });
    assert.deepEqual({ ...db.prepare("SELECT * FROM pods").get() }, { id: "a" });
    assert.equal(db.isTransaction, false);
  });
});
