import { type BuiltEntry, buildEntry, paxContent } from "./tar-builder.ts";

/** Entries of an archive, in order. */
export type Entries = readonly BuiltEntry[];

/** An entry that describes the entries after it. */
export const meta = (type: string, data: string): BuiltEntry => ({ name: "meta", type, data });
export const long = (name: string): BuiltEntry => meta("L", `${name}\0`);
export const global = (records: Readonly<Record<string, string>>): BuiltEntry =>
  meta("g", paxContent(records));
export const last: BuiltEntry = { name: "last", data: "the last one" };
/** It is data of another entry: a reader that finds it has lost its position. */
export const smuggledEntry: BuiltEntry = { name: "smuggled", data: "x".repeat(512) };
export const smuggled = buildEntry(smuggledEntry);
/** A number as twelve bytes of a header. */
export const octal = (value: number): string => `${value.toString(8).padStart(11, "0")}\0`;
export const pairsOf = (...numbers: readonly number[]): string => numbers.map(octal).join("");
