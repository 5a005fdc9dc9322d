import { BLOCK } from "./tar-header.ts";

/** An entry to write. Names and values are byte strings: one character of U+0000 to U+00FF for each byte. */
export interface WrittenEntry {
  readonly name: string;
  /** As in a header: 0 file, 1 link, 2 symlink, 3 char, 4 block, 5 dir, 6 fifo. */
  readonly type: string;
  readonly linkName?: string;
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  /** Nanoseconds since 1970. */
  readonly timeNs?: bigint;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: ReadonlyMap<string, string>;
}

const [maxName, maxId] = [100, 0o7777777];
const maxSize = 0o77777777777;

/**
 * The headers of an entry: ustar, and before it a PAX header with what does not fit: long names, large numbers,
 * parts of seconds and attributes. The same entry always has the same bytes.
 */
export function headersOf(entry: WrittenEntry): Buffer {
  const records = paxRecordsOf(entry);
  if (records.length === 0) return header(entry);
  const body = Buffer.from(records.join(""), "latin1");
  const pax = header({ name: "PaxHeaders.0/entry", type: "x", mode: 0o644, size: body.length });
  return Buffer.concat([pax, body, paddingOf(body.length), header(entry)]);
}

function paxRecordsOf(entry: WrittenEntry): readonly string[] {
  const { name, linkName = "", uid = 0, gid = 0, size = 0, timeNs = 0n } = entry;
  const isOddTime =
    timeNs < 0n || timeNs % 1_000_000_000n !== 0n || timeNs / 1_000_000_000n > BigInt(maxSize);
  const fields: readonly (readonly [doesNotFit: boolean, key: string, value: string])[] = [
    [gid > maxId, "gid", String(gid)],
    [linkName.length > maxName, "linkpath", linkName],
    [isOddTime, "mtime", secondsOf(timeNs)],
    [name.length > maxName, "path", name],
    [size > maxSize, "size", String(size)],
    [uid > maxId, "uid", String(uid)],
  ];
  const records = fields.flatMap(([is, key, value]) => (is ? [paxRecord(key, value)] : []));
  const xattrs = [...(entry.xattrs ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1));
  for (const [key, value] of xattrs) records.push(paxRecord(`SCHILY.xattr.${key}`, value));
  return records;
}

/** The zeros after the data of an entry. */
export function paddingOf(size: number): Buffer {
  return zeros.subarray(0, (BLOCK - (size % BLOCK)) % BLOCK);
}

const zeros = Buffer.alloc(BLOCK);

/** The end of an archive. */
export const archiveEnd: Buffer = Buffer.alloc(2 * BLOCK);

/** Seconds with nine decimals; a time before 1970 has a sign for the whole number. */
function secondsOf(timeNs: bigint): string {
  const absolute = timeNs < 0n ? -timeNs : timeNs;
  const whole = `${timeNs < 0n ? "-" : ""}${absolute / 1_000_000_000n}`;
  const parts = absolute % 1_000_000_000n;
  return parts === 0n ? whole : `${whole}.${String(parts).padStart(9, "0")}`;
}

/** A record "LENGTH KEY=VALUE\n"; LENGTH includes its own digits. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (rest.length + String(length).length !== length) {
    length = rest.length + String(length).length;
  }
  return `${length}${rest}`;
}

function header(entry: WrittenEntry): Buffer {
  const { name, linkName = "", mode, uid = 0, gid = 0, size = 0, timeNs = 0n } = entry;
  const block = Buffer.alloc(BLOCK);
  // A number that does not fit is 0 here, and is in the PAX header.
  const octal = (value: number, at: number, width: number): void => {
    const fits = value >= 0 && value < 8 ** (width - 1);
    block.write((fits ? value : 0).toString(8).padStart(width - 1, "0"), at, "latin1");
  };
  block.write(name.slice(0, maxName), 0, "latin1");
  octal(mode, 100, 8);
  octal(uid, 108, 8);
  octal(gid, 116, 8);
  octal(size, 124, 12);
  octal(Number(timeNs / 1_000_000_000n), 136, 12);
  block.write("        ", 148, "latin1");
  block.write(entry.type, 156, "latin1");
  block.write(linkName.slice(0, maxName), 157, "latin1");
  block.write("ustar\u000000", 257, "latin1");
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\u0000 `, 148, "latin1");
  return block;
}
