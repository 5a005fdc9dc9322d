import type { Readable } from "node:stream";
import type { Logger } from "../../base/logger.ts";
import { LineCutter } from "../../stdio/line-cutter.ts";

/** The longest line that is logged; a longer one is logged in parts. Bytes. */
const maxLineBytes = 4 * 1024;
/** The most lines of one stream that are logged in `windowMs`. */
const maxLines = 100;
const windowMs = 10_000;

/** Copies the output of a plugin to the log, line by line. It is read to its end, so that the plugin never blocks. */
export function logOutput(stream: Readable | undefined, plugin: string, log: Logger): void {
  const lines = new LineCutter(maxLineBytes);
  let windowStart = Number.NEGATIVE_INFINITY;
  let logged = 0;
  let left = 0;
  const reportLeft = (): void => {
    if (left > 0)
      log.info(`NRI plugin "${plugin}": ${left} more lines were not logged`, { plugin });
    left = 0;
  };
  const write = (line: string): void => {
    const now = performance.now();
    if (now - windowStart >= windowMs) {
      reportLeft();
      windowStart = now;
      logged = 0;
    }
    if (logged < maxLines) log.info(`NRI plugin "${plugin}": ${line}`, { plugin });
    else left += 1;
    logged += 1;
  };
  stream?.on("data", (chunk: Buffer) => {
    for (const line of lines.push(chunk)) write(line);
  });
  stream?.on("close", () => {
    for (const line of lines.end()) write(line);
    reportLeft();
  });
}
