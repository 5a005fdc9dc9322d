/** A line of a CRI log: `TIME STREAM TAGS TEXT`. */
export interface LogLine {
  /** The time of the line: RFC 3339 with nanoseconds. */
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  /** The line of output continues in the next log line of the stream (tag P). */
  readonly partial: boolean;
  /** The output of the container without its newline; any bytes. */
  readonly text: Buffer;
}

const SPACE = 0x20;

/** Parses a line; undefined if it is malformed. */
export function parseLogLine(line: Buffer): LogLine | undefined {
  const first = line.indexOf(SPACE);
  const second = line.indexOf(SPACE, first + 1);
  if (first < 1 || second < 0) return undefined;
  const third = line.indexOf(SPACE, second + 1);
  const stream = line.toString("latin1", first + 1, second);
  if (stream !== "stdout" && stream !== "stderr") return undefined;
  const tags = line.toString("latin1", second + 1, third < 0 ? line.length : third);
  // Tags are separated by ":"; the first one is P for a partial line or F for a full one.
  const [tag] = tags.split(":");
  if (tag !== "P" && tag !== "F") return undefined;
  return {
    time: line.toString("latin1", 0, first),
    stream,
    partial: tag === "P",
    text: third < 0 ? Buffer.alloc(0) : line.subarray(third + 1),
  };
}

const NEWLINE = 0x0a;

/** Splits a stream of bytes into lines without their newlines. */
export class LineSplitter {
  #rest: Buffer[] = [];

  /** The lines that this chunk completes. The chunk must not be changed afterwards. */
  *push(chunk: Buffer): Iterable<Buffer> {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      const end = chunk.subarray(from, at);
      yield this.#rest.length === 0 ? end : Buffer.concat([...this.#rest.splice(0), end]);
      from = at + 1;
    }
    if (from < chunk.length) this.#rest.push(chunk.subarray(from));
  }
}
