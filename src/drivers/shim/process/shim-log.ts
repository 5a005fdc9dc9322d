import { existsSync } from "node:fs";

import type { Logger } from "../../../base/logger.ts";
import { type FifoReader, makeFifo, openFifoReader } from "../../../linux/stream/index.ts";
import { LineCutter } from "../../../stdio/line-cutter.ts";

/** The longest line that is told of a shim; a longer one is told in parts. Bytes. */
const maxLineBytes = 8 * 1024;

/** What a shim says, line by line in our log. It blocks at its next word when nobody reads. */
export class ShimLog {
  readonly #reader: FifoReader;

  private constructor(reader: FifoReader) {
    this.#reader = reader;
  }

  /** Makes the fifo where it is missing; containerd's shims open it by its name in their directory. */
  static open(path: string, log: Logger): ShimLog {
    if (!existsSync(path)) makeFifo(path);
    const reader = openFifoReader(path);
    const lines = new LineCutter(maxLineBytes);
    const tell = (line: string): void => {
      const serious = /\blevel=(error|fatal|panic)\b/.test(line);
      if (serious) log.warn(`its shim says: ${line}`);
      else log.debug(`its shim says: ${line}`);
    };
    reader.stream.on("data", (chunk: Buffer) => {
      for (const line of lines.push(chunk)) tell(line);
    });
    reader.stream.on("close", () => {
      for (const line of lines.end()) tell(line);
    });
    return new ShimLog(reader);
  }

  close(): void {
    this.#reader.close();
  }
}
