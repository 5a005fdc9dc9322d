import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../../base/errors.ts";
import { attachmentRows } from "./attachment-row.ts";
import { containerRows } from "./container-row.ts";
import { imageRows } from "./image-row.ts";
import type { Row } from "./row.ts";
import { sandboxRows } from "./sandbox-row.ts";
import { migrate, migrations, readSchema } from "./schema.ts";
import { databaseError } from "./sqlite-error.ts";
import type { TableName } from "./table.ts";

/** The newest schema that this davit knows. */
export const knownSchema = migrations.length;

/** What the database of a davit holds, as far as this one can read it. */
export type RecordsInspection =
  | { readonly kind: "none" }
  /** It is damaged; davit serve would begin a new one. */
  | { readonly kind: "damaged"; readonly reason: string }
  /** A database of another program; davit serve would not start. */
  | { readonly kind: "foreign" }
  /** Of a newer davit; davit serve would not start. Counts are 0 where the tables have other names. */
  | { readonly kind: "newer"; readonly schema: number; readonly counts: RecordCounts }
  | {
      readonly kind: "readable";
      readonly schema: number;
      readonly counts: RecordCounts;
      /** Records that davit serve would set aside. */
      readonly unreadable: readonly UnreadableRecord[];
    };

/** The number of records of each kind. */
export interface RecordCounts {
  readonly sandboxes: number;
  readonly containers: number;
  readonly images: number;
  /** Those that an earlier start could not read. */
  readonly setAside: number;
}

/** A record that this davit cannot read. */
interface UnreadableRecord {
  readonly kind: TableName["kind"];
  readonly id: string;
  readonly reason: string;
}

const formats = [sandboxRows, attachmentRows, containerRows, imageRows] as const;

/**
 * Reads the database at `path` without changing it, also while a daemon uses it: it works on a copy. Throws only
 * if there is no room for that, or the file cannot be read.
 */
export function inspectRecords(path: string): RecordsInspection {
  if (!existsSync(path)) return { kind: "none" };
  let directory: string;
  try {
    directory = mkdtempSync(join(tmpdir(), "davit-records-"));
  } catch (error) {
    throw databaseError(`copy records "${path}" to read them`, error);
  }
  try {
    const copy = join(directory, "davit.db");
    // The log first: what a checkpoint moves to the file meanwhile is then in both.
    for (const suffix of ["-wal", ""]) {
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    }
    return inspectCopy(copy);
  } catch (error) {
    throw databaseError(`read a copy of records "${path}"`, error);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function inspectCopy(copy: string): RecordsInspection {
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(copy);
  } catch (error) {
    return { kind: "damaged", reason: messageOf(error) };
  }
  try {
    const check = String(db.prepare("PRAGMA quick_check(1)").get()?.["quick_check"]);
    if (check !== "ok") return { kind: "damaged", reason: check };
    const state = readSchema(db);
    if (state.kind === "foreign") return { kind: "foreign" };
    if (state.kind === "damaged") {
      return { kind: "damaged", reason: "its table meta names no schema version" };
    }
    if (state.kind === "empty") return { kind: "none" };
    if (state.version > knownSchema) {
      return { kind: "newer", schema: state.version, counts: countsOf(db) };
    }
    migrate(db, 0);
    const unreadable = formats.flatMap((format) => unreadableOf(db, format));
    return { kind: "readable", schema: state.version, counts: countsOf(db), unreadable };
  } catch (error) {
    return { kind: "damaged", reason: messageOf(error) };
  } finally {
    db.close();
  }
}

function countsOf(db: DatabaseSync): RecordCounts {
  const count = (table: string): number => {
    try {
      return Number(db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.["count"]);
    } catch {
      return 0;
    }
  };
  return {
    sandboxes: count("sandbox"),
    containers: count("container"),
    images: count("image"),
    setAside: count("set_aside"),
  };
}

function unreadableOf(
  db: DatabaseSync,
  format: TableName & { readonly parse: (row: Row) => unknown },
): readonly UnreadableRecord[] {
  const statement = db.prepare(`SELECT * FROM ${format.kind} ORDER BY rowid`);
  statement.setReadBigInts(true);
  return statement.all().flatMap((row) => {
    try {
      format.parse(row);
      return [];
    } catch (error) {
      return [{ kind: format.kind, id: String(row[format.key]), reason: messageOf(error) }];
    }
  });
}
