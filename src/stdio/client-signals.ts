import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

/** Sends the signals of a client to its command, one after the other, until the result is disposed of. */
export function followSignals(
  signals: AsyncIterable<number> | undefined,
  send: (signal: number) => Promise<void>,
  log: Logger,
): Disposable {
  const iterator = signals?.[Symbol.asyncIterator]();
  let isOver = false;
  const run = async (): Promise<void> => {
    for (let next = await iterator?.next(); next?.done === false; next = await iterator?.next()) {
      if (isOver) return;
      await send(next.value);
    }
  };
  run().catch((error: unknown) => {
    log.debug(`failed to send a signal to a command: ${messageOf(error)}`);
  });
  const dispose = (): void => {
    isOver = true;
    iterator?.return?.().catch(() => undefined);
  };
  return { [Symbol.dispose]: dispose };
}
