import type { FileTime } from "../linux/file/index.ts";
import { brokenArchive } from "./tar-header.ts";

/**
 * PAX records by key. Keys and values are byte strings. An empty value does not replace the value of the header. For
 * an extended attribute it means an empty attribute.
 */
export type PaxRecords = ReadonlyMap<string, string>;

/** The map of a sparse file in GNU's PAX format 0.1, into which parsePaxRecords() converts that of 0.0. */
export const SPARSE_MAP = "GNU.sparse.map";

/** Records without NUL in the value, because texts of a header end there. */
const texts: ReadonlySet<string> = new Set(["path", "linkpath", "uname", "gname"]);

/**
 * Reads the content of a PAX header: repeated `LENGTH KEY=VALUE\n` (POSIX pax). The last of
 * several records with the same key counts. But GNU's sparse format 0.0 repeats offset and numbytes
 * for each piece of the file, and these become one record.
 */
export function parsePaxRecords(content: string): PaxRecords {
  const records = new Map<string, string>();
  const sparse: string[] = [];
  for (let at = 0; at < content.length; ) {
    const { key, value, end } = parseRecord(content, at);
    at = end;
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      const isTurn = (key === "GNU.sparse.offset") === (sparse.length % 2 === 0);
      if (!isTurn || value.includes(",")) throw brokenArchive("the map of a sparse file is broken");
      sparse.push(value);
    } else {
      records.set(key, value);
    }
  }
  if (sparse.length > 0) records.set(SPARSE_MAP, sparse.join(","));
  return records;
}

interface PaxRecord {
  readonly key: string;
  readonly value: string;
  /** The start of the next record. */
  readonly end: number;
}

function parseRecord(content: string, at: number): PaxRecord {
  const blank = content.indexOf(" ", at);
  const length = content.slice(at, blank);
  const end = at + Number(length);
  const equals = content.indexOf("=", blank);
  const isRecord =
    blank > at &&
    /^\+?[0-9]+$/.test(length) &&
    end > blank + 1 &&
    end <= content.length &&
    content[end - 1] === "\n" &&
    equals > blank + 1 &&
    equals < end - 1;
  if (!isRecord) throw brokenArchive("a PAX header is not made of records");
  const key = content.slice(blank + 1, equals);
  const value = apart(content.slice(equals + 1, end - 1), content);
  if ((texts.has(key) ? value : key).includes("\0")) {
    throw brokenArchive("a PAX header has a NUL in a key or text");
  }
  return { key, value, end };
}

/** In V8 a part of a text keeps the whole. What may be kept for long is copied, if the whole is large. */
export function apart(part: string, whole: string): string {
  return whole.length > 4096 ? Buffer.from(part, "latin1").toString("latin1") : part;
}

/** A decimal number of a record, `undefined` without one. `invalid-argument` above 2^53. */
export function paxNumber(records: PaxRecords, key: string): number | undefined {
  const value = records.get(key);
  return value === undefined || value === "" ? undefined : parseDecimal(value, key);
}

/** Digits with or without a sign, as Go's strconv.ParseInt accepts them. */
export function parseDecimal(digits: string, key: string): number {
  const result = Number(digits);
  if (!/^[+-]?[0-9]+$/.test(digits) || !Number.isSafeInteger(result)) {
    throw brokenArchive(`a PAX header has an invalid number in ${key}`);
  }
  return result === 0 ? 0 : result; // never -0
}

/** A time of a record: seconds, also negative, with any number of decimals. */
export function paxTime(records: PaxRecords, key: string): FileTime | undefined {
  const value = records.get(key);
  if (value === undefined || value === "") return undefined;
  const match = /^([+-]?)([0-9]+)(?:\.([0-9]*))?$/.exec(value);
  const [, sign, whole, decimals = ""] = match ?? [];
  const seconds = Number(whole);
  if (!Number.isSafeInteger(seconds))
    throw brokenArchive(`a PAX header has an invalid time in ${key}`);
  const nanoseconds = Number(decimals.slice(0, 9).padEnd(9, "0"));
  if (sign !== "-") return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}
