/**
 * Writes fields of protobuf messages into one growing buffer. For answers with so many small messages that an object
 * for each of them would cost more than its bytes.
 */
export class FieldWriter {
  #buffer: Buffer;
  #at = 0;

  /** `bytes` is the expected size. */
  constructor(bytes: number) {
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(bytes, 64));
  }

  /** Makes space for what the next calls write, which do not check it. */
  reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const bigger = Buffer.allocUnsafeSlow(Math.max(2 * this.#buffer.length, this.#at + bytes));
    this.#buffer.copy(bigger, 0, 0, this.#at);
    this.#buffer = bigger;
  }

  byte(value: number): this {
    this.#buffer[this.#at++] = value;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** A varint below 2^31. */
  length(value: number): this {
    let rest = value;
    for (; rest > 127; rest >>>= 7) this.#buffer[this.#at++] = (rest & 127) | 128;
    this.#buffer[this.#at++] = rest;
    return this;
  }

  /** A varint of up to 64 bits, not negative. */
  varint(value: bigint): this {
    let rest = BigInt.asUintN(64, value);
    // Numbers are ten times as fast as bigints.
    for (; rest > maxNumber; rest >>= 7n) this.#buffer[this.#at++] = Number(rest & 127n) | 128;
    let small = Number(rest);
    for (; small > 127; small = Math.floor(small / 128))
      this.#buffer[this.#at++] = (small % 128) | 128;
    this.#buffer[this.#at++] = small;
    return this;
  }

  /** What was written. The writer is not used afterwards. */
  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#at);
  }
}

const maxNumber = BigInt(Number.MAX_SAFE_INTEGER);

/** The bytes that {@link FieldWriter.varint} writes. */
export function sizeOfVarint(value: bigint): number {
  let rest = BigInt.asUintN(64, value);
  let size = 1;
  for (; rest > maxNumber; rest >>= 7n) size++;
  for (let small = Number(rest); small > 127; small = Math.floor(small / 128)) size++;
  return size;
}
