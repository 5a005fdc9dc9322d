import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Digest } from "../../base/digest.ts";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Clock, systemClock } from "../../base/time.ts";
import type { Container, ContainerRecords } from "../../core/container/index.ts";
import type { Image, ImageRecords } from "../../core/image/index.ts";
import type { Attachment, AttachmentRecords } from "../../core/network/index.ts";
import type { Sandbox, SandboxRecords, SetAsideRecord } from "../../core/sandbox/index.ts";
import { attachmentTable } from "./attachment-row.ts";
import { Checkpointer, type CheckpointLimits, defaultLimits } from "./checkpointer.ts";
import { containerTable } from "./container-row.ts";
import { openCopy, openDatabase } from "./database.ts";
import { imageTable } from "./image-row.ts";
import { dumpRow, type Row } from "./row.ts";
import { sandboxTable } from "./sandbox-row.ts";
import { databaseError } from "./sqlite-error.ts";
import { type RecordTable, type TableName, upsert } from "./table.ts";

/** What {@link Records} works with. */
export interface RecordsDeps {
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly checkpoint?: Partial<CheckpointLimits>;
}

/** Rows of each table. */
export interface RecordCounts {
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
 * `permission-denied` for one that cannot be written; after an error the old state stands.
 *
 * One thread, one process: whoever opens the same database beside it sees its writes, but must not
 * write much, since both would checkpoint.
 */
export class Records
  implements SandboxRecords, AttachmentRecords, ContainerRecords, ImageRecords, AsyncDisposable
{
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
   * Opens the database at `path`, or makes it; what can go wrong is at {@link openDatabase}. Where its
   * disk is full or read-only it is read all the same: each write then tries to open it again.
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
      logger.error(
        "the records can only be read: nothing new can be made until they can be written",
        {
          path,
          error: messageOf(error),
        },
      );
      return new Records(path, db, { ...deps, clock, isCopy: true });
    }
  }

  loadSandboxes(): readonly Sandbox[] {
    return this.#load(sandboxTable);
  }

  putSandbox(sandbox: Sandbox): void {
    this.#put(sandboxTable, sandbox);
  }

  deleteSandbox(id: string): void {
    this.#delete(sandboxTable, id);
  }

  /** No error and no effect when the sandbox is not there. */
  setAsideSandbox(id: string, reason: string): void {
    const row = this.#read("SELECT * FROM sandbox WHERE id = ?", id)[0];
    if (row !== undefined) this.#setAsideRows(sandboxTable, [{ row, reason }]);
  }

  setAside(): readonly SetAsideRecord[] {
    return this.#read("SELECT kind, id, reason FROM set_aside ORDER BY seq").map((row) => ({
      kind: String(row["kind"]),
      id: String(row["id"]),
      reason: String(row["reason"]),
    }));
  }

  loadAttachments(): readonly Attachment[] {
    return this.#load(attachmentTable);
  }

  putAttachment(attachment: Attachment): void {
    this.#put(attachmentTable, attachment);
  }

  deleteAttachment(sandboxId: string): void {
    this.#delete(attachmentTable, sandboxId);
  }

  loadContainers(): readonly Container[] {
    return this.#load(containerTable);
  }

  putContainer(container: Container): void {
    this.#put(containerTable, container);
  }

  deleteContainer(id: string): void {
    this.#delete(containerTable, id);
  }

  /** Oldest first. Those that cannot be read are set aside and reported. */
  loadImages(): readonly Image[] {
    return this.#load(imageTable);
  }

  putImage(image: Image): void {
    this.#put(imageTable, image);
  }

  deleteImage(id: Digest): void {
    this.#delete(imageTable, id);
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

  /** False while the disk of the records is full or read-only since before they were opened. */
  canBeWritten(): boolean {
    return this.#checkpointer !== undefined;
  }

  /** Carries everything over into the one file and closes it. Calls after that fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#checkpointer?.finish();
    this.#statements.clear();
    this.#db.close();
    await this.#checkpointer?.release();
  }

  #load<T>(table: RecordTable<T>): readonly T[] {
    const records: T[] = [];
    const unreadable: { row: Row; reason: string }[] = [];
    // By rowid: in the order of the first writes, whatever the clock did.
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
      // They stay where they are and are tried again at the next start; the others must load.
      this.#logger.error("records that cannot be read could not be set aside", { error });
    }
    return records;
  }

  #put<T>(table: RecordTable<T>, record: T): void {
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
      this.#logger.error("a record is set aside", { kind, id: row[key], reason });
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

  /** Leaves the copy for the database itself; rejects, and changes nothing, when that is not possible yet. */
  #openForWriting(): void {
    const db = openDatabase(this.#path, { logger: this.#logger, clock: this.#clock });
    this.#statements.clear();
    this.#db.close();
    this.#db = db;
    this.#checkpointer = this.#newCheckpointer();
    this.#logger.info("the records can be written again", { path: this.#path });
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

  /** Prepared once. Integers come as bigints: an absurd one must not make a whole table unreadable. */
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
