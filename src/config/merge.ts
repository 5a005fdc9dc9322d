import { isTable } from "./setting.ts";

type Table = Readonly<Record<string, unknown>>;

/**
 * The tables of several files as one: tables are merged key by key, at any depth; every other value, including a
 * list, replaces that of an earlier file.
 */
export function mergeTables(tables: readonly Table[]): Table {
  return tables.reduce<Table>(merged, {});
}

function merged(base: Table, over: Table): Table {
  const values = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(over)) {
    const before = values.get(name);
    values.set(name, isTable(before) && isTable(value) ? merged(before, value) : value);
  }
  // Defines the keys, so that one named __proto__ is only a key.
  return Object.fromEntries(values);
}
