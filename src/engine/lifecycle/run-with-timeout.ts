import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Janitor } from "./janitor.ts";

const retryMs = 1_000;

/** Who does what a head start could not finish. */
export interface BackgroundDeps {
  readonly tasks: TaskGroup;
  readonly janitor: Janitor;
  readonly log: Logger;
}

/**
 * Begins `work` and waits for it, but for `limitMs` at most: what takes longer goes on in the
 * background, and what fails is tried again by the janitor under the name `what`. So nothing that
 * hangs or fails can delay a daemon's start. Never rejects.
 */
export async function runWithTimeoutThenBackground(
  { tasks, janitor, log }: BackgroundDeps,
  what: string,
  limitMs: number,
  work: () => Promise<void>,
): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<undefined>();
  tasks.spawn(what, async (signal) => {
    try {
      await work();
    } catch (error) {
      if (signal.aborted) return;
      log.warn(`cannot ${what} yet`, { nextTryInMs: retryMs, error: messageOf(error) });
      janitor.adopt(what, work, retryMs);
    } finally {
      resolve(undefined);
    }
  });
  const timer = new AbortController();
  const late = sleep(limitMs, undefined, { signal: timer.signal }).catch(() => undefined);
  await Promise.race([over, late]);
  timer.abort();
}
