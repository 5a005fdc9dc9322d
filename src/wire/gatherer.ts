/** The first allocation. Most messages are smaller, and arrive in one piece, which needs none. */
const firstBytes = 4096;
const none = Buffer.alloc(0);

/**
 * Gathers the bytes of something whose length is known, in one buffer. A peer chooses how small the pieces
 * are in which it sends a message: kept as they come, pieces of one byte would take 200 bytes each.
 */
export class Gatherer {
  #buffer: Buffer = none;
  #length = 0;

  /** How many bytes are here. */
  get length(): number {
    return this.#length;
  }

  /** A number of four bytes, big-endian; they must be here. */
  uint32At(offset: number): number {
    return this.#buffer.readUInt32BE(offset);
  }

  /** A byte; it must be here. */
  byteAt(offset: number): number {
    return this.#buffer.readUInt8(offset);
  }

  /** Takes from the beginning of `chunk` what is missing to `total` bytes. Returns how many bytes that were. */
  fill(chunk: Uint8Array, total: number): number {
    const taken = Math.min(chunk.length, total - this.#length);
    this.#reserve(this.#length + taken, total);
    this.#buffer.set(chunk.subarray(0, taken), this.#length);
    this.#length += taken;
    return taken;
  }

  /** All bytes that are here. They are the caller's now. */
  take(): Buffer {
    const bytes = this.#buffer.subarray(0, this.#length);
    this.#buffer = none;
    this.#length = 0;
    return bytes;
  }

  /** Grows by doubling: a length that was only promised takes no memory. */
  #reserve(needed: number, total: number): void {
    if (needed <= this.#buffer.length) return;
    const size = Math.max(needed, Math.min(total, Math.max(firstBytes, 2 * this.#buffer.length)));
    const larger = Buffer.allocUnsafeSlow(size);
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}
