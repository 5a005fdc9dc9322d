import type { HeaderField } from "./static-table.ts";

/** What an entry counts beyond the bytes of its name and value (RFC 7541, 4.1). */
const fieldOverheadBytes = 32;

/** The size of a header as RFC 7541 (4.1) and the limit of a header list (RFC 9113, 6.5.2) count it. */
export function sizeOf([name, value]: HeaderField): number {
  return name.length + value.length + fieldOverheadBytes;
}

/** The dynamic table of a decoder (RFC 7541, 2.3.2 and 4): the newest entry is the first, the oldest ones are evicted. */
export class DynamicTable {
  /** A ring. No table has more entries than this: each one counts at least 32 bytes. */
  readonly #ring: (HeaderField | undefined)[];
  readonly #mask: number;
  /** The place of the next entry. */
  #next = 0;
  #count = 0;
  #bytes = 0;
  #maxBytes: number;

  constructor(maxBytes: number) {
    const places =
      2 ** Math.ceil(Math.log2(Math.max(1, Math.floor(maxBytes / fieldOverheadBytes))));
    this.#ring = Array.from({ length: places }, () => undefined);
    this.#mask = places - 1;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#count;
  }

  /** The sum of the sizes of all entries. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The entry at this index; 0 is the newest one. */
  at(index: number): HeaderField | undefined {
    return index < this.#count ? this.#ring[(this.#next - 1 - index) & this.#mask] : undefined;
  }

  /** Adds an entry. One that is larger than the table empties it (4.4). */
  add(field: HeaderField): void {
    const size = sizeOf(field);
    this.#evictUntil(this.#maxBytes - size);
    if (size > this.#maxBytes) return;
    this.#ring[this.#next] = field;
    this.#next = (this.#next + 1) & this.#mask;
    this.#count += 1;
    this.#bytes += size;
  }

  /** Sets the limit, at most that of the constructor, and evicts what is beyond it (4.3). */
  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#evictUntil(maxBytes);
  }

  #evictUntil(bytes: number): void {
    while (this.#count > 0 && this.#bytes > bytes) {
      const oldest = (this.#next - this.#count) & this.#mask;
      const field = this.#ring[oldest];
      this.#ring[oldest] = undefined;
      this.#count -= 1;
      if (field !== undefined) this.#bytes -= sizeOf(field);
    }
  }
}
