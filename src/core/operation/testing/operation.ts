import { silentLogger } from "../../../base/logger.ts";
import type { Operation, Stage } from "../index.ts";

/** An operation that does not record its stages; `signal` aborts it, and `entered` is told the stages. */
export function testOperation(
  signal: AbortSignal = new AbortController().signal,
  entered: (stage: Stage) => void = () => undefined,
): Operation {
  return {
    signal,
    log: silentLogger,
    enter: (stage) => {
      signal.throwIfAborted();
      entered(stage);
      return Promise.resolve();
    },
    undoing: () => Promise.resolve(),
    workOn: () => undefined,
    failedIn: () => undefined,
  };
}
