import assert from "node:assert/strict";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import type { TableName } from "../table.ts";

/** A change of one column that makes a record unreadable, and the error of the records. */
export interface Damage {
  readonly what: string;
  readonly column: string;
  /** The new value, or a change of the JSON that is there. */
  readonly to: SQLInputValue | ((json: Record<string, unknown>) => unknown);
  readonly reason: RegExp;
}

/** The object in a field of the JSON. */
export function sub(json: Record<string, unknown>, name: string): Record<string, unknown> {
  return json[name] as Record<string, unknown>;
}

/** Changes one column of the row with this id, past all of our code. */
export function damage(
  path: string,
  { kind, key }: Pick<TableName, "kind" | "key">,
  id: string,
  { column, to }: Pick<Damage, "column" | "to">,
): void {
  using db = new DatabaseSync(path);
  let value: SQLInputValue;
  if (typeof to === "function") {
    const row = db.prepare(`SELECT ${column} FROM ${kind} WHERE ${key} = ?`).get(id);
    const json = JSON.parse(String(row?.[column])) as Record<string, unknown>;
    to(json);
    value = JSON.stringify(json);
  } else value = to;
  const { changes } = db
    .prepare(`UPDATE ${kind} SET ${column} = ? WHERE ${key} = ?`)
    .run(value, id);
  assert.equal(changes, 1);
}
