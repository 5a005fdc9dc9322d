import { existsSync } from "node:fs";
import { createInterface } from "node:readline";

import type { Logger } from "../../base/logger.ts";
import { type FifoReader, makeFifo, openFifoReader } from "../../linux/index.ts";

/** What a shim says, line by line in our log. It blocks at its next word when nobody reads. */
export class ShimLog {
  readonly #reader: FifoReader;

  private constructor(reader: FifoReader) {
    this.#reader = reader;
  }

  /** Makes the fifo where it is missing; containerd's shims open it by its name in their folder. */
  static open(path: string, log: Logger): ShimLog {
    if (!existsSync(path)) makeFifo(path);
    const reader = openFifoReader(path);
    const lines = createInterface({ input: reader.stream });
    lines.on("line", (line) => {
      const serious = /\blevel=(error|fatal|panic)\b/.test(line);
      if (serious) log.warn(`its shim says: ${line}`);
      else log.debug(`its shim says: ${line}`);
    });
    return new ShimLog(reader);
  }

  close(): void {
    this.#reader.close();
  }
}
