import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import { within } from "../../base/wait.ts";
import type { Janitor } from "./janitor.ts";

const retryMs = 1_000;

/** What runs the work that exceeds its timeout or fails. */
export interface BackgroundDeps {
  readonly tasks: TaskGroup;
  readonly janitor: Janitor;
  readonly log: Logger;
}

/**
 * Starts `work` and waits for it, at most `limitMs`. Work that takes longer continues in the
 * background, and work that fails is retried by the janitor under the name `what`. So work that hangs
 * or fails cannot delay the start of the daemon. Never rejects.
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
      log.warn(`failed to ${what}; will retry`, {
        nextTryInMs: retryMs,
        error: messageOf(error),
      });
      janitor.adopt(what, work, retryMs);
    } finally {
      resolve(undefined);
    }
  });
  await within(over, limitMs);
}
