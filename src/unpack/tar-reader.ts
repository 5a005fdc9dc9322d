import { RuntimeError } from "../base/errors.ts";
import { apart, parsePaxRecords } from "./pax-records.ts";
import { OldSparseMap, paxSparseMap, SparseData, SparseMapInData } from "./sparse.ts";
import {
  type EntryExtras,
  isHeaderOnly,
  makeEntry,
  printable,
  type StoredEntry,
  type TarEntry,
} from "./tar-entry.ts";
import { BLOCK, brokenArchive, isZeroBlock, parseHeader, type TarHeader } from "./tar-header.ts";

/**
 * Receives what a {@link TarReader} reads: `entry`, its content in any number of pieces, `endEntry`. Pieces
 * and holes follow each other and have the size of the entry in total.
 */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** The bytes are valid during the call only. */
  data(bytes: Buffer): void;
  /** Zeros of a sparse file that the archive does not contain. */
  hole(bytes: number): void;
  endEntry(): void;
}

/** The limits of an archive. */
export interface TarLimits {
  /** Headers of any kind. */
  readonly entries: number;
  /** Bytes of one PAX header or long name. */
  readonly headerBytes: number;
}

/** An image of a whole distribution with the packages of a language has about 300,000 files. */
export const defaultLimits: TarLimits = { entries: 4_000_000, headerBytes: 1024 * 1024 };

/** How much of a name is shown in an error. Characters. */
const MAX_SHOWN = 200;

const noExtras: EntryExtras = { pax: new Map(), longName: "", longLink: "" };

/**
 * Reads a tar archive in chunks of any size: V7, ustar, PAX, GNU long names, and sparse files
 * in GNU's old format and in its PAX formats 0.0, 0.1 and 1.0. Synchronous: when `write` returns, it has called the
 * sink for everything in the chunk, and keeps no reference to it.
 *
 * It reads archives exactly like Go's archive/tar, because registries, scanners and other
 * runtimes use that: a reader that finds another file, or another end of a file, would run an image
 * that was never scanned. It rejects what Go rejects, and some of what Go accepts. Global PAX headers
 * are read and have no effect, but end the records before them.
 *
 * Throws `invalid-argument` for a malformed archive, `resource-exhausted` beyond the limits. It cannot be
 * used after a throw.
 */
export class TarReader {
  readonly #sink: TarSink;
  readonly #limits: TarLimits;
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  #state: "header" | "old-map" | "meta" | "map" | "data" | "end" = "header";
  /** Bytes until the end of the state, without padding. */
  #left = 0;
  #padding = 0;
  #metaType = "";
  #meta: Buffer[] = [];
  #sawZero = false;
  #headers = 0;
  /** How many entries were read, the path of the last one, and whether its content is being read. */
  #entries = 0;
  #path = "";
  #inEntry = false;
  #extras: EntryExtras = noExtras;
  /** The current file while its map is read, and the map. */
  #stored: StoredEntry | undefined;
  #oldMap = new OldSparseMap();
  #mapInData = new SparseMapInData();
  #sparse: SparseData | undefined;

  constructor(sink: TarSink, limits: TarLimits = defaultLimits) {
    this.#sink = sink;
    this.#limits = limits;
  }

  /** True after the two blocks of zeros at the end of the archive. */
  get isEnded(): boolean {
    return this.#state === "end";
  }

  /**
   * Reads the next bytes, and returns how many. Bytes after the end of the archive are ignored, because tar pads it to a
   * record.
   */
  write(bytes: Buffer): number {
    let at = 0;
    try {
      while (at < bytes.length && this.#state !== "end") {
        if (this.#state === "data" || this.#state === "meta") at += this.#takeContent(bytes, at);
        else at += this.#fillBlock(bytes, at);
      }
    } catch (error) {
      throw this.#located(error);
    }
    return at;
  }

  /**
   * Ends the input. An archive without the two blocks of zeros is accepted, as in other readers, and one
   * without the padding of its last file.
   */
  end(): void {
    if (this.#state === "end") return;
    const isContent = this.#state === "data" || this.#state === "meta";
    try {
      if (isContent && this.#left === 0) this.#endContent();
      if (this.#state !== "header" || this.#filled > 0) {
        throw brokenArchive("it ends in the middle of an entry");
      }
    } catch (error) {
      throw this.#located(error);
    }
  }

  /** Adds to the error of a malformed archive where in it that is. */
  #located(error: unknown): unknown {
    if (!(error instanceof RuntimeError) || error.kind !== "invalid-argument") return error;
    const name = `"${printable(this.#path).slice(0, MAX_SHOWN)}"`;
    if (this.#entries > 0 && error.message.includes(name)) return error;
    const last = `${this.#inEntry ? "entry" : "after entry"} ${this.#entries}, ${name}`;
    const where = this.#entries === 0 ? "in the first entry" : last;
    return new RuntimeError(error.kind, `${error.message} (${where})`, { cause: error.cause });
  }

  #fillBlock(bytes: Buffer, at: number): number {
    const count = Math.min(BLOCK - this.#filled, bytes.length - at);
    bytes.copy(this.#block, this.#filled, at, at + count);
    this.#filled += count;
    if (this.#filled < BLOCK) return count;
    this.#filled = 0;
    if (this.#state === "header") this.#takeHeader();
    else if (this.#state === "old-map") this.#takeOldMap(this.#oldMap.write(this.#block));
    else this.#takeMapInData();
    return count;
  }

  #takeContent(bytes: Buffer, at: number): number {
    const count = Math.min(this.#left, bytes.length - at);
    if (count > 0) {
      const part = bytes.subarray(at, at + count);
      if (this.#state === "meta") this.#meta.push(Buffer.from(part));
      else if (this.#sparse === undefined) this.#sink.data(part);
      else this.#sparse.data(part);
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
    if (state === "meta") {
      this.#endMeta();
      return;
    }
    this.#sparse?.end();
    this.#sparse = undefined;
    this.#sink.endEntry();
    this.#inEntry = false;
  }

  #startContent(state: "meta" | "data", size: number): void {
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
    if (header.size < 0 && !isHeaderOnly(header.type)) {
      throw brokenArchive("a header has a negative size");
    }
    if ("xgLK".includes(header.type)) this.#startMeta(header);
    else this.#startEntry(header);
  }

  #startMeta(header: TarHeader): void {
    if (header.size > this.#limits.headerBytes) {
      throw new RuntimeError(
        "resource-exhausted",
        `read layer archive: a header has ${header.size} bytes; the limit is ${this.#limits.headerBytes}`,
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
        this.#extras = { ...this.#extras, pax: parsePaxRecords(content) };
        break;
      case "g":
        // Go returns it as an entry of its own, and starts the next one without records.
        parsePaxRecords(content);
        this.#extras = noExtras;
        break;
      case "L":
        this.#extras = { ...this.#extras, longName: textOf(content) };
        break;
      default:
        this.#extras = { ...this.#extras, longLink: textOf(content) };
    }
  }

  #startEntry(header: TarHeader): void {
    const { pax } = this.#extras;
    const stored = makeEntry(header, this.#extras, this.#block);
    this.#extras = noExtras;
    this.#entries++;
    this.#path = stored.entry.path;
    this.#inEntry = true;
    this.#sink.entry(stored.entry);
    switch (stored.sparse) {
      case undefined:
        this.#startContent("data", stored.storedBytes);
        return;
      case "map-in-records":
        this.#sparse = this.#sparseData(paxSparseMap(pax), stored, stored.storedBytes);
        this.#startContent("data", stored.storedBytes);
        return;
      case "map-in-data":
        this.#stored = stored;
        this.#mapInData = new SparseMapInData();
        this.#state = "map";
        this.#left = stored.storedBytes;
        return;
      case "map-in-header":
        this.#stored = stored;
        this.#oldMap = new OldSparseMap();
        this.#takeOldMap(this.#oldMap.header(this.#block));
    }
  }

  /** The blocks of the map count neither as headers nor as data. */
  #takeOldMap(isLast: boolean): void {
    const stored = this.#stored;
    this.#state = "old-map";
    if (!isLast || stored === undefined) return;
    this.#sparse = this.#sparseData(this.#oldMap.fragments, stored, stored.storedBytes);
    this.#startContent("data", stored.storedBytes);
  }

  /** The blocks of the map are the first of the data. */
  #takeMapInData(): void {
    const stored = this.#stored;
    this.#left -= BLOCK;
    if (this.#left < 0) throw brokenArchive("the map of a sparse file is truncated");
    if (!this.#mapInData.write(this.#block) || stored === undefined) return;
    this.#sparse = this.#sparseData(this.#mapInData.fragments, stored, this.#left);
    this.#startContent("data", this.#left);
  }

  #sparseData(
    fragments: ReturnType<typeof paxSparseMap>,
    { entry }: StoredEntry,
    dataBytes: number,
  ): SparseData {
    return new SparseData(fragments, entry.size, dataBytes, this.#sink);
  }
}

/** The text before the NUL at its end. */
function textOf(content: string): string {
  return apart(content.split("\0", 1)[0] ?? "", content);
}
