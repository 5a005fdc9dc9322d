import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { explainsState, type Operations } from "../../core/operation/index.ts";
import { HistoryFile } from "../../drivers/history/index.ts";

/**
 * Writes the operations that end from now on below the root directory, and reads those of earlier daemons in the
 * background.
 */
export function keepHistory(operations: Operations, root: string, log: Logger): HistoryFile {
  const directory = join(root, "history");
  const file = new HistoryFile({ directory, log });
  file.read().then(
    (earlier) => {
      operations.history.restore(earlier);
    },
    (error: unknown) => {
      log.warn(
        `read history in "${directory}": ${messageOf(error)}; davit why shows only operations since this start`,
      );
    },
  );
  operations.observe({
    ended: ({ object }, past) => {
      if (explainsState(past)) file.add(object, past);
    },
  });
  return file;
}
