import { RuntimeError } from "../../base/errors.ts";
import { parseLogLine } from "../../linux/file/index.ts";

/** The longest record that is kept: runtimes write lines in parts of 16 KiB, unless they are told otherwise. Bytes. */
const maxRecordBytes = 256 * 1024;
/** Of a log, a crash leaves one line or two that are not records. A file with more of them is something else. */
const maxDropped = 1_000;

/** As runtimes write it: RFC 3339, with up to nine digits of a second. */
const logTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;
const newline = 0x0a;

/**
 * The records of a CRI log that somebody else may have written. What is not one is dropped: an incomplete line at either
 * end, a line without time, stream and tag, and a very long one. The text of a record may have any bytes, as the output
 * of every container.
 */
export class LogRecords {
  #rest: Buffer[] = [];
  #restBytes = 0;
  /** The line that is being read is not kept. */
  #isSkipping: boolean;
  #dropped = 0;

  /** `isCut`: the bytes begin in the middle of a line. */
  constructor({ isCut }: { readonly isCut: boolean }) {
    this.#isSkipping = isCut;
  }

  /**
   * The records that this chunk completes, with their newlines. The chunk must not be changed afterwards.
   * `invalid-argument` for bytes that are not a log.
   */
  push(chunk: Buffer): Buffer {
    const kept: Buffer[] = [];
    let from = 0;
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      const line = this.#take(chunk.subarray(from, at + 1));
      from = at + 1;
      if (this.#isSkipping) this.#isSkipping = false;
      else if (isRecord(line)) kept.push(line);
      else this.#drop();
    }
    this.#keepRest(chunk.subarray(from));
    return Buffer.concat(kept);
  }

  /** At the end of the log: how many lines were dropped. */
  end(): number {
    if (this.#restBytes > 0) this.#drop();
    return this.#dropped;
  }

  #keepRest(rest: Buffer): void {
    if (rest.length === 0 || this.#isSkipping) return;
    this.#rest.push(rest);
    this.#restBytes += rest.length;
    if (this.#restBytes <= maxRecordBytes) return;
    this.#take(Buffer.alloc(0));
    this.#isSkipping = true;
    this.#drop();
  }

  #take(end: Buffer): Buffer {
    const all = this.#rest.length === 0 ? end : Buffer.concat([...this.#rest, end]);
    this.#rest = [];
    this.#restBytes = 0;
    return all;
  }

  #drop(): void {
    this.#dropped += 1;
    if (this.#dropped <= maxDropped) return;
    const text = `it has more than ${maxDropped} lines that are not records of a CRI log (TIME STREAM TAG TEXT): remove container.log from the archive, or make the checkpoint again`;
    throw new RuntimeError("invalid-argument", text);
  }
}

/** `line` ends with its newline. */
function isRecord(line: Buffer): boolean {
  if (line.length > maxRecordBytes) return false;
  const record = parseLogLine(line.subarray(0, -1));
  return record !== undefined && logTime.test(record.time);
}
