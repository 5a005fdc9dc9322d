import type { FileTime } from "../linux/file/index.ts";
import { brokenArchive } from "./tar-header.ts";

/**
 * PAX records by key. Keys and values are byte strings. An empty value leaves what the header says, but
 * is an extended attribute that is empty.
 */
export type PaxRecords = ReadonlyMap<string, string>;

/** The map of a sparse file in GNU's PAX format 0.1, to which parsePaxRecords() brings that of 0.0. */
export const SPARSE_MAP = "GNU.sparse.map";

/** Those whose values may not hold a NUL: they are texts of a header, which end there. */
const texts: ReadonlySet<string> = new Set(["path", "linkpath", "uname", "gname"]);

/**
 * Reads the content of a PAX header: `LENGTH KEY=VALUE\n` again and again (POSIX pax). The last of
 * several records with one key counts; but GNU's sparse format 0.0 has offset and numbytes again and
 * again, for each piece of the file, and these become one record.
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
  /** Where the next one begins. */
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
  const value = content.slice(equals + 1, end - 1);
  if ((texts.has(key) ? value : key).includes("\0")) {
    throw brokenArchive("a PAX header has a NUL where none may be");
  }
  return { key, value, end };
}

/** A decimal number of a record, `undefined` where there is none. `invalid-argument` beyond 2^53. */
export function paxNumber(records: PaxRecords, key: string): number | undefined {
  const value = records.get(key);
  return value === undefined || value === "" ? undefined : parseDecimal(value, key);
}

/** Digits with or without a sign, as Go's strconv.ParseInt takes them. */
export function parseDecimal(digits: string, key: string): number {
  const result = Number(digits);
  if (!/^[+-]?[0-9]+$/.test(digits) || !Number.isSafeInteger(result)) {
    throw brokenArchive(`a PAX header has no number as its ${key}`);
  }
  return result === 0 ? 0 : result; // never -0
}

/** A moment of a record: seconds, negative ones too, with any number of decimals. */
export function paxTime(records: PaxRecords, key: string): FileTime | undefined {
  const value = records.get(key);
  if (value === undefined || value === "") return undefined;
  const match = /^([+-]?)([0-9]+)(?:\.([0-9]*))?$/.exec(value);
  const [, sign, whole, decimals = ""] = match ?? [];
  const seconds = Number(whole);
  if (!Number.isSafeInteger(seconds)) throw brokenArchive(`a PAX header has no time as its ${key}`);
  const nanoseconds = Number(decimals.slice(0, 9).padEnd(9, "0"));
  if (sign !== "-") return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}
