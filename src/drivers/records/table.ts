import type { SQLInputValue } from "node:sqlite";
import type { Row } from "./row.ts";

/** Where the records of one kind are. */
export interface TableName {
  /** The table, and the kind under which its rows are set aside. */
  readonly kind: "sandbox" | "attachment" | "container" | "image";
  /** For messages, before a record's key. */
  readonly noun: string;
  /** The column with the record's key. */
  readonly key: string;
}

/** How the records of one kind become rows, and rows become records again. */
export interface RowFormat<T> extends TableName {
  /** The value of the key column. */
  readonly keyOf: (record: T) => string;
  /** The whole row; the columns are the same ones in the same order for every record. */
  readonly columns: (record: T, nowMs: number) => Readonly<Record<string, SQLInputValue>>;
  /** The record in a row. `data-loss`, naming the column or field, for one that cannot be read. */
  readonly parse: (row: Row) => T;
}

/**
 * The statement that writes a row, new or not. `recorded_at` stays that of the first write: it
 * replaces a creation time that is missing.
 */
export function upsert({ kind, key }: TableName, columns: readonly string[]): string {
  const changes = columns
    .filter((column) => column !== key && column !== "recorded_at")
    .map((column) => `${column} = excluded.${column}`);
  return `INSERT INTO ${kind} (${columns.join(", ")})
    VALUES (${columns.map(() => "?").join(", ")})
    ON CONFLICT (${key}) DO UPDATE SET ${changes.join(", ")}`;
}
