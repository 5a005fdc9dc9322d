import { DynamicTable, sizeOf } from "./dynamic-table.ts";
import { HeadersTooLarge, HpackError } from "./errors.ts";
import { decodeHuffman } from "./huffman.ts";
import { type HeaderField, staticTable } from "./static-table.ts";

/** What a peer may send. */
export interface HeaderLimits {
  /**
   * The size of the dynamic table as RFC 7541 counts it: the value of SETTINGS_HEADER_TABLE_SIZE, in force from the
   * first block on. 4096 where that is not sent. The table needs about as much memory.
   */
  readonly maxTableBytes: number;
  /** The size of all headers of a request, 32 bytes for each one included: SETTINGS_MAX_HEADER_LIST_SIZE. */
  readonly maxListBytes: number;
  /** The number of headers of a request. */
  readonly maxPairs: number;
}

/** Bytes after the first one of an integer. All together have 28 bits: more than any length and index here. */
const maxIntegerBytes = 4;

const none: Buffer = Buffer.alloc(0);

/**
 * Decodes the header blocks that a connection receives, in their order. A block must be complete: the fragments of HEADERS
 * and CONTINUATION frames joined. The caller limits its length, which also limits the work and the memory for it.
 */
export class HeaderDecoder {
  readonly #limits: HeaderLimits;
  readonly #table: DynamicTable;
  #block = none;
  #at = 0;

  constructor(limits: HeaderLimits) {
    this.#limits = limits;
    this.#table = new DynamicTable(limits.maxTableBytes);
  }

  /**
   * The headers of a block, in order. Names and values have a character for each byte (latin1); what HTTP allows in
   * them is up to the caller. A header of a table is the same value in each list.
   *
   * @throws HpackError for a malformed block; the decoder must not be used again.
   * @throws HeadersTooLarge when the headers exceed a limit; the block was read to its end, so the next one can be decoded.
   */
  decode(block: Buffer): readonly HeaderField[] {
    this.#block = block;
    this.#at = 0;
    const { maxListBytes, maxPairs } = this.#limits;
    const fields: HeaderField[] = [];
    let bytes = 0;
    let count = 0;
    while (this.#at < block.length) {
      const first = block[this.#at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        if (count > 0) throw new HpackError("the size of the table changes after the first header");
        this.#resize();
        continue;
      }
      const field = first >= 0x80 ? this.#indexed() : this.#literal(first);
      count += 1;
      bytes += sizeOf(field);
      if (count <= maxPairs && bytes <= maxListBytes) fields.push(field);
    }
    // The buffer of the connection is much larger than a block.
    this.#block = none;
    if (fields.length < count) throw new HeadersTooLarge(maxListBytes, maxPairs);
    return fields;
  }

  /** RFC 7541, 6.1. */
  #indexed(): HeaderField {
    return this.#field(this.#integer(7));
  }

  /** RFC 7541, 6.2: with incremental indexing, without indexing, and never indexed. */
  #literal(first: number): HeaderField {
    const isIndexed = first >= 0x40;
    const index = this.#integer(isIndexed ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#field(index)[0];
    const field: HeaderField = [name, this.#string()];
    if (isIndexed) this.#table.add(field);
    return field;
  }

  /** RFC 7541, 6.3. */
  #resize(): void {
    const bytes = this.#integer(5);
    const { maxTableBytes } = this.#limits;
    if (bytes > maxTableBytes) {
      throw new HpackError(`a table of ${bytes} bytes, the limit is ${maxTableBytes}`);
    }
    this.#table.resize(bytes);
  }

  #field(index: number): HeaderField {
    const field =
      index <= staticTable.length
        ? staticTable[index - 1]
        : this.#table.at(index - staticTable.length - 1);
    if (field === undefined) throw new HpackError(`no header has the index ${index}`);
    return field;
  }

  /** An integer whose first byte has this many bits of it (RFC 7541, 5.1). */
  #integer(bits: number): number {
    const block = this.#block;
    const most = 2 ** bits - 1;
    let value = (block[this.#at++] ?? 0) & most;
    if (value < most) return value;
    for (let count = 0; count < maxIntegerBytes; count++) {
      const byte = block[this.#at++];
      if (byte === undefined) throw new HpackError("a truncated integer");
      value += (byte & 0x7f) * 2 ** (7 * count);
      if (byte < 0x80) return value;
    }
    throw new HpackError("an integer that is too large");
  }

  /** RFC 7541, 5.2. */
  #string(): string {
    const block = this.#block;
    const first = block[this.#at];
    if (first === undefined) throw new HpackError("a truncated header");
    const length = this.#integer(7);
    const start = this.#at;
    const end = start + length;
    if (end > block.length) throw new HpackError("a truncated string");
    this.#at = end;
    return first >= 0x80 ? decodeHuffman(block, start, end) : block.toString("latin1", start, end);
  }
}
