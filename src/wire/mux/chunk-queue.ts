/** Chunks are joined up to this size. */
const smallBytes = 4096;
/** The number of entries of removed chunks that the list may keep. */
const maxRemoved = 1024;
const none = Buffer.alloc(0);

/**
 * A queue of chunks of bytes. A small chunk is joined with earlier ones that are not
 * larger: a peer chooses the size of its frames, and a list of chunks of one byte would take 200 bytes for each.
 * So a megabyte needs at most 25,000 chunks, and adding a chunk copies at most 4 KiB.
 */
export class ChunkQueue {
  readonly #list: Buffer[] = [];
  /** The index of the first chunk in the list. Moving the others to the front each time would take too long. */
  #first = 0;

  /** The number of chunks. */
  get count(): number {
    return this.#list.length - this.#first;
  }

  push(chunk: Buffer): void {
    let last = chunk;
    while (this.count > 0) {
      const before = this.#list.at(-1);
      if (before === undefined || before.length > last.length) break;
      if (before.length + last.length > smallBytes) break;
      this.#list.pop();
      last = Buffer.concat([before, last]);
    }
    this.#list.push(last);
  }

  /** Removes and returns the first chunk; undefined when there is none. */
  shift(): Buffer | undefined {
    const chunk = this.#list[this.#first];
    if (chunk === undefined) return undefined;
    this.#list[this.#first] = none;
    this.#first += 1;
    if (this.count === 0 || this.#first >= Math.max(maxRemoved, this.count)) {
      this.#list.splice(0, this.#first);
      this.#first = 0;
    }
    return chunk;
  }
}
