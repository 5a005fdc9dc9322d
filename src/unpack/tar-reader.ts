import { RuntimeError } from "../base/errors.ts";
import type { FileTime } from "../linux/index.ts";
import { type PaxRecords, parsePaxRecords, paxNumber, paxTime } from "./pax-records.ts";
import { BLOCK, brokenArchive, isZeroBlock, parseHeader, type TarHeader } from "./tar-header.ts";

/** What an entry makes. */
export type EntryType = "file" | "link" | "symlink" | "char" | "block" | "dir" | "fifo";

/** A file of an archive. Names are byte strings: a character of U+0000 to U+00FF for each byte. */
export interface TarEntry {
  readonly type: EntryType;
  /** As the archive has it: it may be absolute and hold `..`. Never empty, and without NUL. */
  readonly path: string;
  /** Target of a link or symlink. */
  readonly linkPath: string;
  /** The 12 bits of chmod(2). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of data that follow; 0 for all but files. */
  readonly size: number;
  readonly time: FileTime;
  readonly major: number;
  readonly minor: number;
  /** Extended attributes (SCHILY.xattr.*): names and values, byte strings both. */
  readonly xattrs: ReadonlyMap<string, string>;
}

/** Takes what a {@link TarReader} finds: `entry`, its `data` in any number of pieces, `endEntry`. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** The bytes are valid during the call only. */
  data(bytes: Buffer): void;
  endEntry(): void;
}

/** What an archive may ask of us. */
export interface TarLimits {
  /** Headers of any kind. */
  readonly entries: number;
  /** Bytes of one PAX header or long name. */
  readonly headerBytes: number;
}

/** An image of a whole distribution with a language's packages has some 300,000 files. */
export const defaultLimits: TarLimits = { entries: 4_000_000, headerBytes: 1024 * 1024 };

const types: Readonly<Record<string, EntryType>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "dir",
  "6": "fifo",
};
const XATTR = "SCHILY.xattr.";
const PATH_MAX = 4096;
/** uid_t and gid_t; the last value means "leave it" to chown(2). */
const ID_MAX = 0xffff_fffe;

/**
 * Reads a tar archive that comes in pieces of any size: V7, ustar, PAX with global headers, GNU
 * long names. Synchronous: `write` has called the sink for everything that the piece completes when
 * it returns, and keeps no reference to it.
 *
 * Throws `invalid-argument` for what is no archive, `resource-exhausted` beyond the limits,
 * `unimplemented` for sparse files. It is of no use after a throw.
 */
export class TarReader {
  readonly #sink: TarSink;
  readonly #limits: TarLimits;
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  #state: "header" | "meta" | "data" | "skip" | "end" = "header";
  /** Bytes until the state's end, without padding. */
  #left = 0;
  #padding = 0;
  #metaType = "";
  #meta: Buffer[] = [];
  #sawZero = false;
  #headers = 0;
  #global = new Map<string, string>();
  #pax: PaxRecords = new Map();
  #longName: string | undefined;
  #longLink: string | undefined;

  constructor(sink: TarSink, limits: TarLimits = defaultLimits) {
    this.#sink = sink;
    this.#limits = limits;
  }

  /** Takes the next bytes. Those after the archive's end are ignored, as tar pads it to a record. */
  write(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length && this.#state !== "end") {
      if (this.#state === "header") at += this.#fillBlock(bytes, at);
      else at += this.#takeContent(bytes, at);
    }
  }

  /** The bytes are over. An archive without the two blocks of zeros is taken, as others take it. */
  end(): void {
    if (this.#state === "end") return;
    if (this.#state !== "header" || this.#filled > 0 || this.#hasPending()) {
      throw brokenArchive("it ends in the middle of an entry");
    }
  }

  #hasPending(): boolean {
    return this.#pax.size > 0 || this.#longName !== undefined || this.#longLink !== undefined;
  }

  #fillBlock(bytes: Buffer, at: number): number {
    const count = Math.min(BLOCK - this.#filled, bytes.length - at);
    bytes.copy(this.#block, this.#filled, at, at + count);
    this.#filled += count;
    if (this.#filled === BLOCK) {
      this.#filled = 0;
      this.#takeHeader();
    }
    return count;
  }

  #takeContent(bytes: Buffer, at: number): number {
    const count = Math.min(this.#left, bytes.length - at);
    if (count > 0) {
      const part = bytes.subarray(at, at + count);
      if (this.#state === "data") this.#sink.data(part);
      else if (this.#state === "meta") this.#meta.push(Buffer.from(part));
      this.#left -= count;
    }
    if (this.#left > 0) return count;
    const padding = Math.min(this.#padding, bytes.length - at - count);
    this.#padding -= padding;
    if (this.#padding === 0) this.#endContent();
    return count + padding;
  }

  #endContent(): void {
    const state = this.#state;
    this.#state = "header";
    if (state === "data") this.#sink.endEntry();
    if (state === "meta") this.#endMeta();
  }

  #startContent(state: "meta" | "data" | "skip", size: number): void {
    this.#state = state;
    this.#left = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
    if (size === 0) this.#endContent();
  }

  #takeHeader(): void {
    if (isZeroBlock(this.#block)) {
      if (this.#sawZero) this.#state = "end";
      this.#sawZero = true;
      return;
    }
    if (this.#sawZero) throw brokenArchive("an entry follows a block of zeros");
    if (++this.#headers > this.#limits.entries) {
      throw new RuntimeError(
        "resource-exhausted",
        `read layer archive: it has more than ${this.#limits.entries} entries`,
      );
    }
    const header = parseHeader(this.#block);
    if (header.size < 0) throw brokenArchive("a header has a negative size");
    switch (header.type) {
      case "x":
      case "g":
      case "L":
      case "K":
        this.#startMeta(header);
        return;
      case "V": // a label of the archive
        this.#startContent("skip", header.size);
        return;
      default:
        this.#startEntry(header);
    }
  }

  #startMeta(header: TarHeader): void {
    if (header.size > this.#limits.headerBytes) {
      throw new RuntimeError(
        "resource-exhausted",
        `read layer archive: a header of ${header.size} bytes, at most ${this.#limits.headerBytes} are read`,
      );
    }
    this.#metaType = header.type;
    this.#startContent("meta", header.size);
  }

  #endMeta(): void {
    const content = Buffer.concat(this.#meta).toString("latin1");
    this.#meta = [];
    switch (this.#metaType) {
      case "x":
        this.#pax = parsePaxRecords(content);
        break;
      case "g":
        for (const [key, value] of parsePaxRecords(content)) this.#global.set(key, value);
        if (this.#global.size > 1000) throw brokenArchive("it has over 1000 global PAX records");
        break;
      case "L":
        this.#longName = content.split("\0", 1)[0] ?? "";
        break;
      default:
        this.#longLink = content.split("\0", 1)[0] ?? "";
    }
  }

  #startEntry(header: TarHeader): void {
    const entry = this.#makeEntry(header);
    this.#sink.entry(entry);
    if (entry.type === "file") {
      this.#startContent("data", entry.size);
      return;
    }
    this.#sink.endEntry();
    // Only files have data, the size of others may be anything; but a V7 folder is stored as a file.
    if (types[header.type] === "file") this.#startContent("skip", header.size);
  }

  #makeEntry(header: TarHeader): TarEntry {
    const pax = this.#global.size === 0 ? this.#pax : new Map([...this.#global, ...this.#pax]);
    const path = pax.get("path") || this.#longName || header.name;
    const linkPath = pax.get("linkpath") || this.#longLink || header.linkName;
    this.#pax = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    checkName(path);
    const type = typeOf(header, path, pax);
    const { mode, major, minor } = header;
    return {
      type,
      path,
      linkPath: type === "link" || type === "symlink" ? checkName(linkPath, path) : "",
      mode: mode & 0o7777,
      uid: checkId(paxNumber(pax, "uid") ?? header.uid, path),
      gid: checkId(paxNumber(pax, "gid") ?? header.gid, path),
      size: type === "file" ? (paxNumber(pax, "size") ?? header.size) : 0,
      time: paxTime(pax, "mtime") ?? { seconds: header.seconds, nanoseconds: 0 },
      major,
      minor,
      xattrs: xattrsOf(pax),
    };
  }
}

function typeOf(header: TarHeader, path: string, pax: PaxRecords): EntryType {
  const isSparse =
    header.type === "S" || [...pax.keys()].some((key) => key.startsWith("GNU.sparse."));
  if (isSparse) {
    throw new RuntimeError(
      "unimplemented",
      `read layer archive: "${printable(path)}" is stored as a sparse file; make the layer without --sparse`,
    );
  }
  const type = types[header.type];
  if (type === undefined) {
    const code = JSON.stringify(header.type);
    throw brokenArchive(`entry "${printable(path)}" has the unknown type ${code}`);
  }
  // Before there was a type for folders they were files whose name ends with a slash.
  return type === "file" && path.endsWith("/") ? "dir" : type;
}

function xattrsOf(pax: PaxRecords): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of pax) {
    if (key.startsWith(XATTR)) found.set(key.slice(XATTR.length), value);
  }
  return found;
}

function checkName(name: string, of = name): string {
  if (name === "" || name.includes("\0") || name.length >= PATH_MAX) {
    throw brokenArchive(
      `entry "${printable(of).slice(0, 200)}" has an empty or too long name or target`,
    );
  }
  return name;
}

function checkId(id: number, path: string): number {
  if (id >= 0 && id <= ID_MAX) return id;
  throw brokenArchive(`entry "${printable(path)}" has the impossible owner ${id}`);
}

/** A byte string for people: its UTF-8 text, with control characters made visible. */
export function printable(bytes: string): string {
  const text = Buffer.from(bytes, "latin1").toString("utf8");
  return JSON.stringify(text).slice(1, -1);
}
