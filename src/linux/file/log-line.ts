/** A line of a CRI log, `TIME STREAM TAGS TEXT`, or a part of a very long one. */
export interface LogLine {
  /** The time of the line: RFC 3339 with nanoseconds. Empty for a malformed line. */
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  /** The line of output continues in the next log line of the stream (tag P). */
  readonly partial: boolean;
  /** The output of the container without its newline; any bytes. */
  readonly text: Buffer;
}

const space = 0x20;
const newline = 0x0a;

/** More than the longest time that a runtime writes. */
const maxTimeBytes = 64;

/** The bytes that say of a line whether it is partial: time, stream and tags. */
export const headBytes = 128;

/** Parses a line; undefined if it is malformed. */
export function parseLogLine(line: Buffer): LogLine | undefined {
  const first = line.indexOf(space);
  const second = line.indexOf(space, first + 1);
  if (first < 1 || first > maxTimeBytes || second < 0) return undefined;
  const third = line.indexOf(space, second + 1);
  const stream = line.toString("latin1", first + 1, second);
  if (stream !== "stdout" && stream !== "stderr") return undefined;
  // Tags are separated by ":"; the first one is P for a partial line or F for a full one.
  const tags = line.subarray(second + 1, third < 0 ? line.length : third);
  const tag = tags.length === 1 || tags[1] === 0x3a ? String.fromCharCode(tags[0] ?? 0) : "";
  if (tag !== "P" && tag !== "F") return undefined;
  return {
    time: line.toString("latin1", 0, first),
    stream,
    partial: tag === "P",
    text: third < 0 ? Buffer.alloc(0) : line.subarray(third + 1),
  };
}

/**
 * Splits the bytes of a log into its lines. A malformed line is one of stdout without a time. A line that is longer
 * than the limit becomes several partial ones, since others than the runtime may write to the file.
 */
export class LogLines {
  readonly #maxBytes: number;
  #rest: Buffer[] = [];
  #restBytes = 0;
  /** The line whose first parts were returned already. */
  #begun: LogLine | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that this chunk completes. The chunk must not be changed afterwards. */
  push(chunk: Buffer): LogLine[] {
    const lines: LogLine[] = [];
    let from = 0;
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      lines.push(this.#end(this.#take(chunk.subarray(from, at))));
      from = at + 1;
    }
    if (from < chunk.length) {
      this.#rest.push(chunk.subarray(from));
      this.#restBytes += chunk.length - from;
    }
    if (this.#restBytes > this.#maxBytes) lines.push(this.#part(this.#take(Buffer.alloc(0))));
    return lines;
  }

  /** Forgets a line that is not complete. */
  reset(): void {
    this.#take(Buffer.alloc(0));
    this.#begun = undefined;
  }

  #take(end: Buffer): Buffer {
    const all = this.#rest.length === 0 ? end : Buffer.concat([...this.#rest, end]);
    this.#rest = [];
    this.#restBytes = 0;
    return all;
  }

  #end(bytes: Buffer): LogLine {
    const begun = this.#begun;
    this.#begun = undefined;
    return begun === undefined ? lineOf(bytes) : { ...begun, text: bytes };
  }

  #part(bytes: Buffer): LogLine {
    const line = this.#begun === undefined ? lineOf(bytes) : { ...this.#begun, text: bytes };
    this.#begun ??= { ...line, text: Buffer.alloc(0) };
    return { ...line, partial: true };
  }
}

function lineOf(bytes: Buffer): LogLine {
  return parseLogLine(bytes) ?? { time: "", stream: "stdout", partial: false, text: bytes };
}
