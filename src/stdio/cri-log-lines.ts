import { formatLogTime } from "../base/log-time.ts";
import { logLineBytes } from "../core/container/index.ts";

/** The longest part of a line in a CRI log; a longer line is written in parts. Bytes. */
export const maxPartBytes = logLineBytes.davit;

const newline = 0x0a;

/** The name of a stream in a CRI log. */
export type LogStream = "stdout" | "stderr";

/**
 * Turns the output of one stream into lines of a CRI log: time, stream, a tag, text. The tag is F
 * for the end of a line and P for a part before that: a line is cut after 16 KiB, and text
 * without a newline at the end of the output is a part as well.
 */
export class CriLogLines {
  readonly #stream: LogStream;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: LogStream) {
    this.#stream = stream;
  }

  /** The lines that `chunk` completes, all with the time `nowNs` (nanoseconds since 1970). */
  push(chunk: Buffer, nowNs: bigint): Buffer {
    const text = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const { full, part } = this.#heads(nowNs);
    const pieces: Buffer[] = [];
    let at = 0;
    for (let end = text.indexOf(newline); end >= 0; end = text.indexOf(newline, at)) {
      at = this.#cut(text, at, end, part, pieces);
      pieces.push(full, text.subarray(at, end + 1));
      at = end + 1;
    }
    at = this.#cut(text, at, text.length, part, pieces);
    // A copy: a chunk may be a piece of a much larger buffer.
    this.#rest = Buffer.from(text.subarray(at));
    return Buffer.concat(pieces);
  }

  /** The incomplete last line, at the end of the output. */
  end(nowNs: bigint): Buffer {
    const rest = this.#rest;
    this.#rest = Buffer.alloc(0);
    if (rest.length === 0) return rest;
    return Buffer.concat([this.#heads(nowNs).part, rest, Buffer.from("\n")]);
  }

  /** Writes all parts but the last of the line from `at` to `end`; returns where the last one begins. */
  #cut(text: Buffer, at: number, end: number, head: Buffer, pieces: Buffer[]): number {
    let begin = at;
    while (end - begin > maxPartBytes) {
      pieces.push(head, text.subarray(begin, begin + maxPartBytes), Buffer.from("\n"));
      begin += maxPartBytes;
    }
    return begin;
  }

  #heads(nowNs: bigint): { readonly full: Buffer; readonly part: Buffer } {
    const time = formatLogTime(nowNs);
    return {
      full: Buffer.from(`${time} ${this.#stream} F `),
      part: Buffer.from(`${time} ${this.#stream} P `),
    };
  }
}
