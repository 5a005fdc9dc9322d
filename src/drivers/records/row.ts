import type { SQLOutputValue } from "node:sqlite";
import { type Digest, isDigest } from "../../base/digest.ts";
import { RuntimeError, wrap } from "../../base/errors.ts";

/** A row of SQLite. Integers are bigints: a damaged one may be larger than a number. */
export type Row = Readonly<Record<string, SQLOutputValue>>;

/** The text in a column; `data-loss` for anything else. */
export function textOf(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== "string") throw wrongColumn(column, "text");
  return value;
}

/** The digest in a column; `data-loss` for anything else. */
export function digestOf(row: Row, column: string): Digest {
  const value = textOf(row, column);
  if (!isDigest(value)) throw wrongColumn(column, "a sha256 digest");
  return value;
}

/** The bytes in a column; `data-loss` for anything else. */
export function bytesOf(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw wrongColumn(column, "bytes");
  return value;
}

/** The whole number in a column; `data-loss` for anything else. */
export function integerOf(row: Row, column: string): bigint {
  const value = row[column];
  if (typeof value !== "bigint") throw wrongColumn(column, "a whole number");
  return value;
}

/** Throws `data-loss` unless the row's record version is `version`. */
export function checkVersion(row: Row, version: number): void {
  const found = integerOf(row, "version");
  if (found === BigInt(version)) return;
  throw new RuntimeError(
    "data-loss",
    `parse record: its version must be ${version}; it is ${found}`,
  );
}

/** What `read` decodes from a column's bytes; `data-loss`, naming the column, when it throws. */
export function decodeColumn<T>(column: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const doing = `parse record column "${column}"`;
    throw new RuntimeError("data-loss", wrap(doing, cause).message, { cause });
  }
}

/** The whole row as JSON, for keeping what cannot be understood: bytes as `{"base64": ...}`. */
export function dumpRow(row: Row): Uint8Array {
  const columns = Object.entries(row).map(([column, value]) => {
    if (value instanceof Uint8Array) {
      return [column, { base64: Buffer.from(value).toString("base64") }];
    }
    return [column, typeof value === "bigint" ? String(value) : value];
  });
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(columns)));
}

function wrongColumn(column: string, expected: string): RuntimeError {
  return new RuntimeError("data-loss", `parse record column "${column}": it must be ${expected}`);
}
