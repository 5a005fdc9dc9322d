import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

const firstPauseMs = 1_000;
const maxPauseMs = 30_000;

/**
 * Puts on record what has happened and cannot be told again: an exit, a death. It is tried until it
 * works, since a disk that is full for a while must not leave a state that lies for ever after.
 * Rejects with the signal's reason when the daemon ends first; recovery finds it out anew.
 */
export async function untilRecorded(
  write: () => void,
  log: Logger,
  signal: AbortSignal,
  pauseMs = firstPauseMs,
): Promise<void> {
  for (let pause = pauseMs; ; pause = Math.min(pause * 2, maxPauseMs)) {
    try {
      write();
      return;
    } catch (error) {
      log.error("what happened could not be recorded", {
        nextTryInMs: pause,
        error: messageOf(error),
      });
    }
    await sleep(pause, undefined, { signal, ref: false });
  }
}
