import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import { migrate, migrations, readSchema } from "./schema.ts";
import { databaseError, isCorruption } from "./sqlite-error.ts";

/** How long a statement waits for another process's lock before it fails. */
const busyTimeoutMs = 2_000;

/**
 * Opens the database at `path` in the newest schema, and makes it (mode 0600) and its directory
 * (0700) when they are missing.
 *
 * A damaged file is moved aside and a fresh one begun: the daemon must start, recovery finds what
 * the lost records meant. `failed-precondition`, with nothing touched, for a database of a newer
 * schema and for one that is not davit's; `permission-denied` for a disk that cannot be written;
 * `resource-exhausted` for a full one. Makes no fsync: see {@link Checkpointer}.
 */
export function openDatabase(
  path: string,
  deps: { readonly logger: Logger; readonly clock: Clock },
): DatabaseSync {
  const doing = `open records "${path}"`;
  try {
    makeDirectory(dirname(path));
    if (existsSync(path)) {
      if (existsSync(`${path}-journal`)) rollBack(path);
      const damage = findDamage(path);
      if (damage !== undefined) moveAside(path, damage, deps);
    }
    // SQLite would make it 0644. The descriptor must not outlive this line, and the file not be
    // opened here when it exists: closing any descriptor of a file drops this process's locks on
    // it (fcntl(2), "Advisory record locking"), SQLite's too.
    if (!existsSync(path)) closeSync(openSync(path, "wx", 0o600));
    return openWritable(path, deps.clock.nowMs());
  } catch (error) {
    throw databaseError(doing, error);
  }
}

/** Directories for the read-only copy, usually on other file systems. */
const copyDirectories: readonly string[] = ["/dev/shm", "/run", tmpdir()];

/**
 * What the database at `path` holds, for reading alone: for a disk on which SQLite cannot even open
 * it, since that takes room for its index. What is written to it is lost. Errors as of
 * {@link openDatabase}; a damaged one is left where it is, and nothing is in the answer.
 */
export function openCopy(
  path: string,
  deps: { readonly logger: Logger; readonly clock: Clock },
  directories: readonly string[] = copyDirectories,
): DatabaseSync {
  let failure: unknown;
  for (const parent of directories) {
    try {
      return copyIn(parent, path, deps);
    } catch (error) {
      if (error instanceof RuntimeError) throw error;
      failure = error;
    }
  }
  throw databaseError(`copy records "${path}" to read them`, failure);
}

function copyIn(
  parent: string,
  path: string,
  { logger, clock }: { readonly logger: Logger; readonly clock: Clock },
): DatabaseSync {
  const directory = mkdtempSync(join(parent, "davit-records-"));
  const copy = join(directory, "davit.db");
  try {
    for (const suffix of ["", "-wal"]) {
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    }
    const damage = existsSync(copy) ? findDamage(copy) : undefined;
    if (damage === undefined) return openWritable(copy, clock.nowMs());
    logger.error("the database is damaged and its disk is not writable; starting without records", {
      path,
      damage,
    });
    return openWritable(":memory:", clock.nowMs());
  } finally {
    // From here on only the open files are used.
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Not mkdir's `recursive`: on a read-only file system it fails with ENOENT (Node 24). */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}

function openWritable(path: string, nowMs: number): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: busyTimeoutMs });
  try {
    // OFF first: turning a new file into a WAL database would be synced otherwise.
    db.exec("PRAGMA synchronous = OFF");
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA wal_autocheckpoint = 0");
    migrate(db, nowMs);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Undoes what was written when the machine or the daemon stopped in the middle of making the database: afterwards its
 * changes are in the write-ahead log. Such a journal cannot be undone by a reader (SQLITE_READONLY_ROLLBACK).
 */
function rollBack(path: string): void {
  const db = new DatabaseSync(path, { timeout: busyTimeoutMs });
  try {
    readSchema(db);
  } catch (error) {
    if (!isCorruption(error)) throw error;
  } finally {
    db.close();
  }
}

/** Why the file cannot be used, or undefined when it can. Reads only. */
function findDamage(path: string): string | undefined {
  // Read-only, so that a refused database is not changed, nor its write-ahead log.
  const db = new DatabaseSync(path, { readOnly: true, timeout: busyTimeoutMs });
  try {
    const check = db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
    if (check !== "ok") return String(check);
    const schema = readSchema(db);
    if (schema.kind === "damaged") return "its table meta names no schema version";
    if (schema.kind === "foreign") {
      throw new RuntimeError(
        "failed-precondition",
        `open records "${path}": it is a SQLite database, but not one of davit; move it away`,
      );
    }
    if (schema.kind === "version" && schema.version > migrations.length) {
      throw new RuntimeError(
        "failed-precondition",
        `open records "${path}": it has schema version ${schema.version}, this davit knows up to ` +
          `${migrations.length}; it cannot read${contentsOf(db)}, and has changed nothing. Start the ` +
          "newer davit again, or remove all pods with it and move the file away",
      );
    }
    return undefined;
  } catch (error) {
    if (isCorruption(error)) return error instanceof Error ? error.message : String(error);
    throw error;
  } finally {
    db.close();
  }
}

/** What a database of a newer schema holds, where that has the tables of this one: " 2 pods, 3 containers ...". */
function contentsOf(db: DatabaseSync): string {
  const nouns = { sandbox: "pods", container: "containers", image: "images" };
  try {
    const counts = Object.entries(nouns).map(([table, noun]) => {
      const count = db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.["count"];
      return `${String(count)} ${noun}`;
    });
    return ` its records of ${counts.join(", ")}`;
  } catch {
    return " its records";
  }
}

function moveAside(
  path: string,
  damage: string,
  deps: { readonly logger: Logger; readonly clock: Clock },
): void {
  let stamp = deps.clock.nowMs();
  while (existsSync(`${path}.corrupt-${stamp}`)) stamp++;
  const aside = `${path}.corrupt-${stamp}`;
  for (const suffix of ["-wal", "-shm", ""]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  deps.logger.error("the database is damaged; moved it aside and created a new one", {
    path,
    movedTo: aside,
    damage,
  });
}
