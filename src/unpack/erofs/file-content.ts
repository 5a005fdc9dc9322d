import { BLOCK, type ImageFile } from "./image-file.ts";

/** The content of a file, which is in the image up to its last, incomplete block. */
export interface FileContent {
  readonly size: number;
  /** The first block. The others follow it, also those that are holes. */
  readonly firstBlock: number;
  /** What is not in the image yet: the bytes after the last whole block. */
  readonly tail: Buffer;
  /** Pairs of a block of the file and a number of blocks. */
  readonly holes: readonly number[];
}

/** Writes the content of one file after the other. */
export class ContentWriter {
  readonly #image: ImageFile;
  #start = 0;
  #size = 0;
  #holes: number[] = [];
  /** How many bytes of a hole the file ends with, since its last block began. */
  #zeros = 0;

  constructor(image: ImageFile) {
    this.#image = image;
  }

  begin(): void {
    this.#start = this.#image.position;
    this.#size = 0;
    this.#holes = [];
    this.#zeros = 0;
  }

  write(bytes: Buffer): void {
    this.#image.append(bytes);
    this.#size += bytes.length;
    this.#zeros = 0;
  }

  /** Whole blocks of the hole are left out; their place in the image is a hole of the image's file. */
  hole(bytes: number): void {
    const rest = Math.min(bytes, (BLOCK - (this.#size % BLOCK)) % BLOCK);
    this.#image.zeros(rest);
    const blocks = Math.floor((bytes - rest) / BLOCK);
    if (blocks > 0) {
      this.#addHole((this.#size + rest) / BLOCK, blocks);
    }
    const last = (bytes - rest) % BLOCK;
    this.#image.zeros(last);
    this.#size += bytes;
    this.#zeros = last;
  }

  end(): FileContent {
    const isHole = this.#zeros > 0 && this.#zeros === this.#size % BLOCK;
    if (isHole) {
      this.#image.takeTail();
      this.#addHole((this.#size - this.#zeros) / BLOCK, 1);
    }
    return {
      size: this.#size,
      firstBlock: this.#start / BLOCK,
      tail: this.#image.takeTail(),
      holes: this.#holes,
    };
  }

  #addHole(block: number, blocks: number): void {
    const [last = 0, count = 0] = this.#holes.slice(-2);
    if (count > 0 && last + count === block) this.#holes[this.#holes.length - 1] = count + blocks;
    else this.#holes.push(block, blocks);
    this.#image.skip(blocks);
  }
}
