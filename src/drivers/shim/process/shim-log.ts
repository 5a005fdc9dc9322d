import { existsSync } from "node:fs";

import type { Logger } from "../../../base/logger.ts";
import { type FifoReader, makeFifo, openFifoReader } from "../../../linux/stream/index.ts";
import { LineCutter } from "../../../stdio/line-cutter.ts";

/** The longest line of a shim that is logged; a longer one is logged in parts. Bytes. */
const maxLineBytes = 8 * 1024;

/** Copies the log of a shim to ours, line by line. A shim blocks when its log is not read. */
export class ShimLog {
  readonly #reader: FifoReader;

  private constructor(reader: FifoReader) {
    this.#reader = reader;
  }

  /** Creates the fifo if it is missing; containerd's shims open it by its name in their directory. */
  static open(path: string, log: Logger): ShimLog {
    if (!existsSync(path)) makeFifo(path);
    const reader = openFifoReader(path);
    const lines = new LineCutter(maxLineBytes);
    const write = (line: string): void => {
      const isError = /\blevel=(error|fatal|panic)\b/.test(line);
      if (isError) log.warn(`shim: ${line}`);
      else log.debug(`shim: ${line}`);
    };
    reader.stream.on("data", (chunk: Buffer) => {
      for (const line of lines.push(chunk)) write(line);
    });
    reader.stream.on("close", () => {
      for (const line of lines.end()) write(line);
    });
    return new ShimLog(reader);
  }

  close(): void {
    this.#reader.close();
  }
}
