import { brokenArchive } from "./tar-header.ts";

const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;

type State =
  | "magic"
  | "descriptor"
  | "header"
  | "block"
  | "body"
  | "checksum"
  | "skip-size"
  | "skip";

/** Parts of a fixed size, which are buffered until they are complete. */
const gathered: Readonly<Partial<Record<State, number>>> = {
  magic: 4,
  descriptor: 1,
  block: 3,
  "skip-size": 4,
};

/**
 * Splits a zstd stream (RFC 8878) at the ends of frames, and
 * removes skippable frames. node:zlib drops data after the end of a frame in the same write, and
 * tools that compress in parallel or with an index write thousands of frames.
 */
export class ZstdFrames {
  #state: State = "magic";
  readonly #gathered = Buffer.alloc(4);
  #filled = 0;
  /** Remaining bytes of a state that is not buffered. */
  #left = 0;
  #isLastBlock = false;
  #hasChecksum = false;

  /** The parts of `bytes`, split at the ends of frames. Throws `invalid-argument`. */
  *split(bytes: Buffer): Generator<Buffer> {
    let start = 0;
    let at = 0;
    while (at < bytes.length) {
      const wasMagic = this.#state === "magic" || this.#isSkipping();
      const missing = this.#missing();
      const count = Math.min(missing, bytes.length - at);
      this.#take(bytes, at, count);
      at += count;
      if (count < missing) continue;
      const done = this.#advance();
      if (wasMagic) start = at;
      if (wasMagic && this.#state === "descriptor") yield magicBytes();
      if (!done) continue;
      if (at > start) yield bytes.subarray(start, at);
      start = at;
    }
    if (at > start && this.#state !== "magic" && !this.#isSkipping()) {
      yield bytes.subarray(start, at);
    }
  }

  /** Throws `invalid-argument` when the stream ends inside a frame. */
  end(): void {
    if (this.#state !== "magic" || this.#filled > 0)
      throw brokenArchive("its zstd data is truncated");
  }

  #isSkipping(): boolean {
    return this.#state === "skip" || this.#state === "skip-size";
  }

  #missing(): number {
    const size = gathered[this.#state];
    return size === undefined ? this.#left : size - this.#filled;
  }

  #take(bytes: Buffer, at: number, count: number): void {
    if (gathered[this.#state] === undefined) {
      this.#left -= count;
      return;
    }
    bytes.copy(this.#gathered, this.#filled, at, at + count);
    this.#filled += count;
  }

  /** Continues with the next part of the frame; true at its end. */
  #advance(): boolean {
    const value = this.#gathered.readUIntLE(0, Math.max(1, this.#filled));
    this.#filled = 0;
    switch (this.#state) {
      case "magic":
        this.#startFrame(value);
        return false;
      case "skip-size":
        this.#state = value === 0 ? "magic" : "skip";
        this.#left = value;
        return false;
      case "skip":
        this.#state = "magic";
        return false;
      case "descriptor":
        this.#state = "header";
        this.#hasChecksum = (value & 4) !== 0;
        this.#left = headerRest(value);
        return this.#left === 0 && this.#nextBlock();
      case "header":
        return this.#nextBlock();
      case "block":
        return this.#startBlock(value);
      case "body":
        return this.#isLastBlock ? this.#endBlocks() : this.#nextBlock();
      case "checksum":
        this.#state = "magic";
        return true;
    }
  }

  #startFrame(magic: number): void {
    if (magic === FRAME) this.#state = "descriptor";
    else if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE) this.#state = "skip-size";
    else throw brokenArchive("its zstd data has something that is not a frame");
  }

  #nextBlock(): false {
    this.#state = "block";
    return false;
  }

  /** 1 bit "last", 2 bits type, 21 bits size; a block of one repeated byte stores just that byte. */
  #startBlock(header: number): boolean {
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === 3) throw brokenArchive("its zstd data has a block of an unknown type");
    this.#isLastBlock = (header & 1) === 1;
    this.#left = type === 1 ? 1 : size;
    this.#state = "body";
    if (this.#left > 0) return false;
    return this.#isLastBlock ? this.#endBlocks() : this.#nextBlock();
  }

  #endBlocks(): boolean {
    this.#state = this.#hasChecksum ? "checksum" : "magic";
    this.#left = 4;
    return !this.#hasChecksum;
  }
}

/** Bytes of the frame header after its descriptor: window, dictionary id, content size. */
function headerRest(descriptor: number): number {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeFlag = descriptor >> 6;
  const contentSize = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 2 ** sizeFlag;
  return (isSingleSegment ? 0 : 1) + dictionary + contentSize;
}

/** The magic number is buffered until it is complete, so it is not a part of the input any more. */
function magicBytes(): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(FRAME);
  return bytes;
}
