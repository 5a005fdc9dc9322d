/** The size of the first allocation. Most messages are smaller and arrive in one chunk, which needs none. */
const firstBytes = 4096;
const none = Buffer.alloc(0);

/**
 * Collects bytes up to a known length in one buffer. A peer chooses the size of the chunks in which it sends a
 * message: a list of chunks of one byte would take 200 bytes for each.
 */
export class Gatherer {
  #buffer: Buffer = none;
  #length = 0;

  /** The number of bytes that it has. */
  get length(): number {
    return this.#length;
  }

  /** A big-endian number of four bytes, which must have been added. */
  uint32At(offset: number): number {
    return this.#buffer.readUInt32BE(offset);
  }

  /** A byte, which must have been added. */
  byteAt(offset: number): number {
    return this.#buffer.readUInt8(offset);
  }

  /** Adds bytes from the start of `chunk` until there are `total` bytes. Returns how many it added. */
  fill(chunk: Uint8Array, total: number): number {
    const taken = Math.min(chunk.length, total - this.#length);
    this.#reserve(this.#length + taken, total);
    this.#buffer.set(chunk.subarray(0, taken), this.#length);
    this.#length += taken;
    return taken;
  }

  /** Returns all bytes and starts again. The caller owns them. */
  take(): Buffer {
    const bytes = this.#buffer.subarray(0, this.#length);
    this.#buffer = none;
    this.#length = 0;
    return bytes;
  }

  /** Doubles the buffer as bytes arrive: an announced length alone takes no memory. */
  #reserve(needed: number, total: number): void {
    if (needed <= this.#buffer.length) return;
    const size = Math.max(needed, Math.min(total, Math.max(firstBytes, 2 * this.#buffer.length)));
    const larger = Buffer.allocUnsafeSlow(size);
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}
