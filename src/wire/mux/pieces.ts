/** Pieces up to this size are joined. */
const smallBytes = 4096;
/** So many places of pieces that were taken may stand empty. */
const maxEmpty = 1024;
const none = Buffer.alloc(0);

/**
 * Pieces of bytes that wait to be read, in order. A small piece is joined with those before it that are no
 * larger: a peer chooses the size of its frames, and a list of pieces of one byte would take 200 bytes each.
 * So a megabyte makes at most 25,000 pieces; each of them costs the copying of 4 KiB at most.
 */
export class Pieces {
  readonly #list: Buffer[] = [];
  /** Where the first that waits lies in the list: to move the others up each time would take too long. */
  #first = 0;

  /** How many wait. */
  get count(): number {
    return this.#list.length - this.#first;
  }

  push(piece: Buffer): void {
    let last = piece;
    while (this.count > 0) {
      const before = this.#list.at(-1);
      if (before === undefined || before.length > last.length) break;
      if (before.length + last.length > smallBytes) break;
      this.#list.pop();
      last = Buffer.concat([before, last]);
    }
    this.#list.push(last);
  }

  /** The first, which waits no longer; undefined when there is none. */
  shift(): Buffer | undefined {
    const piece = this.#list[this.#first];
    if (piece === undefined) return undefined;
    this.#list[this.#first] = none;
    this.#first += 1;
    if (this.count === 0 || this.#first >= Math.max(maxEmpty, this.count)) {
      this.#list.splice(0, this.#first);
      this.#first = 0;
    }
    return piece;
  }
}
