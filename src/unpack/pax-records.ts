import type { FileTime } from "../linux/index.ts";
import { brokenArchive } from "./tar-header.ts";

/** PAX records by key. Keys and values are byte strings; an empty value takes a record back. */
export type PaxRecords = ReadonlyMap<string, string>;

/** Reads the content of a PAX header: `LENGTH KEY=VALUE\n` again and again (POSIX pax). */
export function parsePaxRecords(content: string): PaxRecords {
  const records = new Map<string, string>();
  let at = 0;
  while (at < content.length) {
    const match = /^([1-9][0-9]{0,8}) /.exec(content.slice(at, at + 10));
    const [prefix = "", length = ""] = match ?? [];
    const end = at + Number(length);
    const record = content.slice(at + prefix.length, end - 1);
    const equals = record.indexOf("=");
    if (prefix === "" || end > content.length || content[end - 1] !== "\n" || equals < 1) {
      throw brokenArchive("a PAX header is not made of records");
    }
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at = end;
  }
  return records;
}

/** A decimal number of a record that is not negative, `undefined` where there is no record. */
export function paxNumber(records: PaxRecords, key: string): number | undefined {
  const value = records.get(key);
  if (value === undefined || value === "") return undefined;
  const result = Number(value);
  if (!/^[0-9]{1,16}$/.test(value) || !Number.isSafeInteger(result)) {
    throw brokenArchive(`a PAX header has no number as its ${key}`);
  }
  return result;
}

/** A moment of a record: seconds, negative ones too, with any number of decimals. */
export function paxTime(records: PaxRecords, key: string): FileTime | undefined {
  const value = records.get(key);
  if (value === undefined || value === "") return undefined;
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value);
  if (match === null) throw brokenArchive(`a PAX header has no time as its ${key}`);
  const [, sign, whole, decimals = ""] = match;
  const seconds = Number(whole);
  const nanoseconds = Number(decimals.slice(0, 9).padEnd(9, "0"));
  if (sign !== "-") return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}
