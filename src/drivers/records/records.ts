import type { DatabaseSync, StatementSync } from "node:sqlite";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Clock, systemClock } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { Attachment } from "../../core/network/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { RecordTable, SetAsideRecord } from "../../core/store/index.ts";
import { attachmentRows } from "./attachment-row.ts";
import { Checkpointer, type CheckpointLimits, defaultLimits } from "./checkpointer.ts";
import { containerRows } from "./container-row.ts";
import { openCopy, openDatabase } from "./database.ts";
import { imageRows } from "./image-row.ts";
import { dumpRow, type Row } from "./row.ts";
import { sandboxRows } from "./sandbox-row.ts";
import { databaseError } from "./sqlite-error.ts";
import { type RowFormat, type TableName, upsert } from "./table.ts";
import type { Tables } from "./write-behind.ts";

/** What {@link Records} works with. */
interface RecordsDeps {
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly checkpoint?: Partial<CheckpointLimits>;
}

/** Rows of each table. */
interface RecordCounts {
  readonly sandboxes: number;
  readonly attachments: number;
  readonly containers: number;
  readonly images: number;
  readonly setAside: number;
}

/**
 * The records of this daemon in a SQLite database, `<root>/davit.db`.
 *
 * A write has happened when the call returns, for a crash of the daemon: it is in the page cache.
 * It waits for no disk; a power cut may cost the last seconds and never leaves half a write (see
 * {@link Checkpointer}). Errors name the path: `resource-exhausted` for a full disk,
 * `permission-denied` for one that cannot be written; after an error the old state is kept.
 *
 * One thread, one process: another process that opens the database sees the writes, but must not
 * write much itself, since both would checkpoint.
 */
export class Records implements Tables, AsyncDisposable {
  readonly sandboxes: RecordTable<Sandbox> = this.#table(sandboxRows);
  readonly attachments: RecordTable<Attachment> = this.#table(attachmentRows);
  readonly containers: RecordTable<Container> = this.#table(containerRows);
  readonly images: RecordTable<Image> = this.#table(imageRows);
  readonly #path: string;
  #db: DatabaseSync;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #limits: CheckpointLimits;
  /** Undefined while the database is only a copy for reading. */
  #checkpointer: Checkpointer | undefined;
  readonly #statements = new Map<string, StatementSync>();
  #closed = false;

  private constructor(
    path: string,
    db: DatabaseSync,
    deps: RecordsDeps & { readonly clock: Clock; readonly isCopy: boolean },
  ) {
    this.#path = path;
    this.#db = db;
    this.#logger = deps.logger;
    this.#clock = deps.clock;
    this.#limits = { ...defaultLimits, ...deps.checkpoint };
    if (!deps.isCopy) this.#checkpointer = this.#newCheckpointer();
  }

  /**
   * Opens the database at `path`, or creates it; its errors are those of {@link openDatabase}. If its disk is
   * full or read-only, it is opened for reading, and each write tries to open it again.
   */
  static open(path: string, deps: RecordsDeps): Records {
    const clock = deps.clock ?? systemClock;
    const { logger } = deps;
    try {
      const db = openDatabase(path, { logger, clock });
      return new Records(path, db, { ...deps, clock, isCopy: false });
    } catch (error) {
      if (!isKind(error, "resource-exhausted") && !isKind(error, "permission-denied")) throw error;
      const db = openCopy(path, { logger, clock });
      logger.error("the database is read-only: nothing can be created until it is writable", {
        path,
        error: messageOf(error),
      });
      return new Records(path, db, { ...deps, clock, isCopy: true });
    }
  }

  setAside(): readonly SetAsideRecord[] {
    return this.#read("SELECT kind, id, reason FROM set_aside ORDER BY seq").map((row) => ({
      kind: String(row["kind"]),
      id: String(row["id"]),
      reason: String(row["reason"]),
    }));
  }

  /** How many rows each table has. */
  counts(): RecordCounts {
    const row = this.#read(
      `SELECT (SELECT count(*) FROM sandbox) AS sandboxes,
         (SELECT count(*) FROM attachment) AS attachments,
         (SELECT count(*) FROM container) AS containers,
         (SELECT count(*) FROM image) AS images,
         (SELECT count(*) FROM set_aside) AS aside`,
    )[0];
    return {
      sandboxes: Number(row?.["sandboxes"]),
      attachments: Number(row?.["attachments"]),
      containers: Number(row?.["containers"]),
      images: Number(row?.["images"]),
      setAside: Number(row?.["aside"]),
    };
  }

  /** Size of the write-ahead log: what a next start would have to read. Bytes. */
  walBytes(): number {
    return this.#checkpointer?.walBytes() ?? 0;
  }

  /** Resolves when all that was written before is on the disk. Rejects if a sync fails. */
  async synced(): Promise<void> {
    this.#checkOpen();
    try {
      await this.#checkpointer?.sync();
    } catch (error) {
      throw databaseError(`sync records "${this.#path}"`, error);
    }
  }

  /** False while the disk is full or read-only, as it was when the records were opened. */
  canBeWritten(): boolean {
    return this.#checkpointer !== undefined;
  }

  /** Checkpoints the database and closes it. Calls after that fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#checkpointer?.finish();
    this.#statements.clear();
    this.#db.close();
    await this.#checkpointer?.release();
  }

  #table<T>(rows: RowFormat<T>): RecordTable<T> {
    return {
      load: () => this.#load(rows),
      put: (record) => this.#put(rows, record),
      delete: (key) => this.#delete(rows, key),
    };
  }

  #load<T>(table: RowFormat<T>): readonly T[] {
    const records: T[] = [];
    const unreadable: { row: Row; reason: string }[] = [];
    // By rowid: in the order of the first writes, independent of the clock.
    for (const row of this.#read(`SELECT * FROM ${table.kind} ORDER BY rowid`)) {
      try {
        records.push(table.parse(row));
      } catch (error) {
        unreadable.push({ row, reason: messageOf(error) });
      }
    }
    try {
      if (unreadable.length > 0) this.#setAsideRows(table, unreadable);
    } catch (error) {
      // They stay in their table until the next start; the others must load.
      this.#logger.error("cannot set unreadable records aside", { error });
    }
    return records;
  }

  #put<T>(table: RowFormat<T>, record: T): void {
    this.#write(`write ${table.noun} "${table.keyOf(record)}"`, () => {
      const columns = table.columns(record, this.#clock.nowMs());
      this.#statement(upsert(table, Object.keys(columns))).run(...Object.values(columns));
    });
  }

  #delete(table: TableName, id: string): void {
    this.#write(`delete ${table.noun} "${id}"`, () => {
      this.#statement(`DELETE FROM ${table.kind} WHERE ${table.key} = ?`).run(id);
    });
  }

  #setAsideRows(
    { kind, key }: TableName,
    rows: readonly { readonly row: Row; readonly reason: string }[],
  ): void {
    this.#write(`set ${kind} records aside`, () => {
      this.#db.exec("BEGIN IMMEDIATE");
      try {
        for (const { row, reason } of rows) {
          const id = String(row[key]);
          this.#statement(
            "INSERT INTO set_aside (kind, id, reason, at, body) VALUES (?, ?, ?, ?, ?)",
          ).run(kind, id, reason, this.#clock.nowMs(), dumpRow(row));
          this.#statement(`DELETE FROM ${kind} WHERE ${key} = ?`).run(id);
        }
        this.#db.exec("COMMIT");
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
        throw error;
      }
    });
    for (const { row, reason } of rows) {
      this.#logger.error("set an unreadable record aside", { kind, id: row[key], reason });
    }
  }

  #read(sql: string, ...args: readonly string[]): Row[] {
    this.#checkOpen();
    try {
      return this.#statement(sql).all(...args);
    } catch (error) {
      throw databaseError(`read records "${this.#path}"`, error);
    }
  }

  #write(doing: string, write: () => void): void {
    this.#checkOpen();
    try {
      if (this.#checkpointer === undefined) this.#openForWriting();
      write();
    } catch (error) {
      throw databaseError(`${doing} in records "${this.#path}"`, error);
    } finally {
      this.#checkpointer?.written();
    }
  }

  /** Switches from the copy to the database itself; throws, and changes nothing, while that is not possible. */
  #openForWriting(): void {
    const db = openDatabase(this.#path, { logger: this.#logger, clock: this.#clock });
    this.#statements.clear();
    this.#db.close();
    this.#db = db;
    this.#checkpointer = this.#newCheckpointer();
    this.#logger.info("the database is writable again", { path: this.#path });
  }

  #newCheckpointer(): Checkpointer {
    return new Checkpointer(this.#db, {
      path: this.#path,
      logger: this.#logger,
      limits: this.#limits,
    });
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new RuntimeError("failed-precondition", `use records "${this.#path}": they are closed`);
  }

  /** Prepared once. Integers are bigints: one beyond 2^53 must not make a whole table unreadable. */
  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      statement.setReadBigInts(true);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}
