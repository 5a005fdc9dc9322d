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

/** What is buffered when a part is complete. The parts of the header of a frame are buffered together. */
const gathered: Readonly<Partial<Record<State, number>>> = {
  magic: 4,
  descriptor: 5,
  block: 3,
  "skip-size": 4,
};
/** The longest header of a frame. */
const MAX_HEADER = 18;
/** The parts that are passed on as they arrive. */
const passedOn: ReadonlySet<State> = new Set<State>(["block", "body", "checksum"]);

/**
 * Splits a zstd stream (RFC 8878) at the ends of frames, and
 * removes skippable frames. node:zlib drops data after the end of a frame in the same write, and
 * tools that compress in parallel or with an index write thousands of frames.
 *
 * The header of a frame is always in one part, with nothing else. NOTE(zstd): ZSTD_decompressStream() looks for a whole
 * frame at the beginning of the input that completes a header, also when the header began in an earlier input. The end
 * of a header that looks like a skippable frame would end the stream there.
 */
export class ZstdFrames {
  #state: State = "magic";
  readonly #gathered = Buffer.alloc(MAX_HEADER);
  #filled = 0;
  /** Bytes of the whole header, once its descriptor is known. */
  #headerBytes = 0;
  /** Remaining bytes of a state that is not buffered. */
  #left = 0;
  #isLastBlock = false;
  #hasChecksum = false;

  /** The parts of `bytes`, split at the ends of frames. Throws `invalid-argument`. */
  *split(bytes: Buffer): Generator<Buffer> {
    let start = 0;
    let at = 0;
    while (at < bytes.length) {
      const state = this.#state;
      const isSkipped = this.#isSkipped();
      const missing = this.#missing();
      const count = Math.min(missing, bytes.length - at);
      this.#take(bytes, at, count);
      at += count;
      if (count < missing) continue;
      if (state === "header") yield Buffer.from(this.#gathered.subarray(0, this.#headerBytes));
      const done = this.#advance();
      if (isSkipped) start = at;
      if (!done) continue;
      if (at > start) yield bytes.subarray(start, at);
      start = at;
    }
    if (at > start && !this.#isSkipped()) {
      yield bytes.subarray(start, at);
    }
  }

  /** Throws `invalid-argument` when the stream ends inside a frame. */
  end(): void {
    if (this.#state !== "magic" || this.#filled > 0)
      throw brokenArchive("its zstd data is truncated");
  }

  /** Whether the bytes of this state are left out of the parts: the header of a frame is one by itself. */
  #isSkipped(): boolean {
    return !passedOn.has(this.#state);
  }

  #gatheredSize(): number | undefined {
    return this.#state === "header" ? this.#headerBytes : gathered[this.#state];
  }

  #missing(): number {
    const size = this.#gatheredSize();
    return size === undefined ? this.#left : size - this.#filled;
  }

  #take(bytes: Buffer, at: number, count: number): void {
    if (this.#gatheredSize() === undefined) {
      this.#left -= count;
      return;
    }
    bytes.copy(this.#gathered, this.#filled, at, at + count);
    this.#filled += count;
  }

  /** Continues with the next part of the frame; true at its end. */
  #advance(): boolean {
    const filled = this.#filled;
    this.#filled = 0;
    const value = this.#gathered.readUIntLE(0, Math.max(1, Math.min(4, filled)));
    switch (this.#state) {
      case "magic":
        this.#startFrame(value, filled);
        return false;
      case "descriptor":
        this.#startHeader(this.#gathered.readUInt8(4), filled);
        return false;
      case "skip-size":
        this.#state = value === 0 ? "magic" : "skip";
        this.#left = value;
        return false;
      case "skip":
        this.#state = "magic";
        return false;
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

  #startFrame(magic: number, filled: number): void {
    if (magic === FRAME) {
      this.#state = "descriptor";
      this.#filled = filled;
    } else if ((magic & 0xffff_fff0) >>> 0 === SKIPPABLE) this.#state = "skip-size";
    else throw brokenArchive("its zstd data has something that is not a frame");
  }

  #startHeader(descriptor: number, filled: number): void {
    this.#state = "header";
    this.#filled = filled;
    this.#hasChecksum = (descriptor & 4) !== 0;
    this.#headerBytes = 5 + headerRest(descriptor);
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
