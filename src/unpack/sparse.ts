import { type PaxRecords, parseDecimal, SPARSE_MAP } from "./pax-records.ts";
import { BLOCK, brokenArchive, readNumber } from "./tar-header.ts";

/** A part of a sparse file with data in the archive. Bytes. */
export interface Fragment {
  readonly offset: number;
  readonly length: number;
}

/** The limit of a map, as in Go: the fragments are kept until the end of the file. */
const MAP_BYTES = 1024 * 1024;
/** An offset and a length in GNU's old format: 12 bytes each. */
const PAIR = 24;

/** Receives the data of a sparse file, like TarSink. */
interface SparseSink {
  data(bytes: Buffer): void;
  hole(bytes: number): void;
}

/** GNU's PAX formats of sparse files: the map is in the records, or before the data. */
export type PaxSparseFormat = "map-in-records" | "map-in-data";

/**
 * The format in the records of an entry. `undefined` for a file that is not sparse. As in Go, a file
 * of an unknown version is not sparse, whatever other records it has.
 */
export function paxSparseFormat(records: PaxRecords): PaxSparseFormat | undefined {
  const [major = "", minor = ""] = [
    records.get("GNU.sparse.major"),
    records.get("GNU.sparse.minor"),
  ];
  if (major === "0" && (minor === "0" || minor === "1")) return "map-in-records";
  if (major === "1" && minor === "0") return "map-in-data";
  if (major !== "" || minor !== "" || (records.get(SPARSE_MAP) ?? "") === "") return undefined;
  return "map-in-records";
}

/** The size of the whole file, for which PAX has two names; `undefined` without one. */
export function paxSparseSize(records: PaxRecords): number | undefined {
  const size = records.get("GNU.sparse.size") || records.get("GNU.sparse.realsize") || "";
  return size === "" ? undefined : parseDecimal(size, "GNU.sparse.size");
}

/** The map of format 0.1: `OFFSET,LENGTH,OFFSET,LENGTH`, and the number of pairs. */
export function paxSparseMap(records: PaxRecords): readonly Fragment[] {
  const count = parseDecimal(records.get("GNU.sparse.numblocks") ?? "", "GNU.sparse.numblocks");
  const map = records.get(SPARSE_MAP) ?? "";
  const numbers = map === "" ? [] : map.split(",");
  if (numbers.length !== 2 * count) throw brokenMap();
  return pairs(numbers);
}

/**
 * The map of format 1.0, before the data: lines with a number each, padded to a block. The first one is the number of
 * fragments. Only the end of the map is read as a whole, because a map of one long line must not be read again
 * for each of its blocks.
 */
export class SparseMapInData {
  readonly #blocks: string[] = [];
  /** Lines so far, and those of the whole map as soon as the first one is there. */
  #lines = 0;
  #wanted: number | undefined;

  /** Reads the next block of the map. True for the last one. */
  write(block: Buffer): boolean {
    if ((this.#blocks.length + 1) * BLOCK > MAP_BYTES)
      throw brokenArchive("the map of a sparse file is larger than 1 MiB");
    this.#blocks.push(block.toString("latin1"));
    this.#lines += countNewlines(block);
    if (this.#wanted === undefined && this.#lines > 0) {
      const [first = ""] = this.#blocks.join("").split("\n", 1);
      const count = parseDecimal(first, "number of fragments");
      if (count < 0) throw brokenMap();
      this.#wanted = 1 + 2 * count;
    }
    return this.#wanted !== undefined && this.#lines >= this.#wanted;
  }

  get fragments(): readonly Fragment[] {
    return pairs(this.#blocks.join("").split("\n").slice(1, this.#wanted));
  }
}

function countNewlines(block: Buffer): number {
  let count = 0;
  for (let at = block.indexOf(10); at >= 0; at = block.indexOf(10, at + 1)) count++;
  return count;
}

/**
 * The map of GNU's old format: four pairs in the header itself, 21 in each block that follows it. A pair
 * without an offset ends its block (GNU tar, tar.h, struct sparse_header).
 */
export class OldSparseMap {
  readonly #fragments: Fragment[] = [];
  #bytes = 0;

  /** Reads the header. True when no block of the map follows. */
  header(block: Buffer): boolean {
    return this.#take(block, 386, 4);
  }

  /** Reads the next block. True for the last one. */
  write(block: Buffer): boolean {
    return this.#take(block, 0, 21);
  }

  get fragments(): readonly Fragment[] {
    return this.#fragments;
  }

  #take(block: Buffer, start: number, count: number): boolean {
    this.#bytes += BLOCK;
    if (this.#bytes > MAP_BYTES)
      throw brokenArchive("the map of a sparse file is larger than 1 MiB");
    const end = start + count * PAIR;
    for (let at = start; at < end && block[at] !== 0; at += PAIR) {
      const offset = readNumber(block, at, 12, "offset");
      this.#fragments.push({ offset, length: readNumber(block, at + 12, 12, "length") });
    }
    return block[end] === 0;
  }
}

/** The size of the whole file in GNU's old format. */
export function oldSparseSize(header: Buffer): number {
  return readNumber(header, 483, 12, "size");
}

function pairs(numbers: readonly string[]): readonly Fragment[] {
  const fragments: Fragment[] = [];
  for (let at = 0; at < numbers.length; at += 2) {
    const offset = parseDecimal(numbers[at] ?? "", "offset");
    fragments.push({ offset, length: parseDecimal(numbers[at + 1] ?? "", "length") });
  }
  return fragments;
}

/**
 * Passes the data of a sparse file to a sink, with the holes in between. The constructor throws
 * `invalid-argument` unless the fragments are ordered, inside the file, and as long as its data.
 */
export class SparseData {
  readonly #fragments: readonly Fragment[];
  readonly #size: number;
  readonly #sink: SparseSink;
  /** The current fragment, and how much of it was written. */
  #at = 0;
  #written = 0;
  /** The position in the file. */
  #position = 0;

  constructor(fragments: readonly Fragment[], size: number, dataBytes: number, sink: SparseSink) {
    let [end, sum] = [0, 0];
    for (const { offset, length } of fragments) {
      if (length < 0 || offset < end || offset + length > size) throw brokenMap();
      end = offset + length;
      sum += length;
    }
    if (size < 0 || sum !== dataBytes) throw brokenMap();
    this.#fragments = fragments.filter(({ length }) => length > 0);
    this.#size = size;
    this.#sink = sink;
  }

  data(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const fragment = this.#fragments[this.#at];
      if (fragment === undefined) throw brokenMap();
      const { offset, length } = fragment;
      this.#skipTo(offset + this.#written);
      const part = bytes.subarray(at, at + length - this.#written);
      this.#sink.data(part);
      at += part.length;
      this.#position += part.length;
      this.#written += part.length;
      if (this.#written === length) {
        this.#at++;
        this.#written = 0;
      }
    }
  }

  end(): void {
    this.#skipTo(this.#size);
  }

  #skipTo(position: number): void {
    if (position > this.#position) this.#sink.hole(position - this.#position);
    this.#position = position;
  }
}

function brokenMap(): Error {
  return brokenArchive("the map of a sparse file does not fit its size or its data");
}
