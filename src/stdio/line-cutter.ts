const newline = 0x0a;

/**
 * Splits bytes into lines of text. A line that is longer than the limit is split into parts, so that a peer
 * that never ends its line cannot exhaust memory.
 */
export class LineCutter {
  readonly #maxBytes: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines, and parts of lines, that `chunk` completes; empty lines are omitted. */
  push(chunk: Buffer): readonly string[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const lines: string[] = [];
    let at = 0;
    for (;;) {
      const end = bytes.indexOf(newline, at);
      const length = (end < 0 ? bytes.length : end) - at;
      if (length > this.#maxBytes) {
        lines.push(bytes.toString("utf8", at, at + this.#maxBytes));
        at += this.#maxBytes;
      } else if (end < 0) {
        break;
      } else {
        if (length > 0) lines.push(bytes.toString("utf8", at, end));
        at = end + 1;
      }
    }
    // A copy: a chunk may be a piece of a much larger buffer.
    this.#rest = Buffer.from(bytes.subarray(at));
    return lines;
  }

  /** The incomplete last line, at the end of the input. */
  end(): readonly string[] {
    const rest = this.#rest.toString("utf8");
    this.#rest = Buffer.alloc(0);
    return rest === "" ? [] : [rest];
  }
}
