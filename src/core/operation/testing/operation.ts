import { silentLogger } from "../../../base/logger.ts";
import type { Operation } from "../index.ts";

/** An operation that does not record its stages; `signal` aborts it. */
export function testOperation(signal: AbortSignal = new AbortController().signal): Operation {
  return {
    signal,
    log: silentLogger,
    enter: () => {
      signal.throwIfAborted();
      return Promise.resolve();
    },
    undoing: () => Promise.resolve(),
    workOn: () => undefined,
  };
}
