import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";

const firstPauseMs = 1_000;
const maxPauseMs = 60_000;

/**
 * Retries failed removals in the background, with growing pauses, until one succeeds or the object was
 * removed by another caller.
 */
export class Janitor {
  readonly #tasks: TaskGroup;
  readonly #log: Logger;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(deps: { readonly tasks: TaskGroup; readonly log: Logger }) {
    this.#tasks = deps.tasks;
    this.#log = deps.log;
  }

  /** Calls `remove` after `delayMs` until it succeeds. Does nothing when object `id` is already owned. */
  adopt(id: string, remove: () => Promise<void>, delayMs = 0): void {
    if (!this.#timers.has(id)) this.#schedule(id, remove, delayMs, 1);
  }

  /** Ids of the objects that are still to be removed. */
  owned(): readonly string[] {
    return [...this.#timers.keys()];
  }

  #schedule(id: string, remove: () => Promise<void>, delayMs: number, attempt: number): void {
    const timer = setTimeout(() => {
      this.#tasks.spawn(`clean up "${id}"`, async (signal) => {
        try {
          await remove();
          this.#timers.delete(id);
        } catch (error) {
          if (signal.aborted) return;
          const pauseMs = Math.min(firstPauseMs * 2 ** (attempt - 1), maxPauseMs);
          this.#log.warn("failed to clean up; will retry", {
            id,
            attempt,
            nextTryInMs: pauseMs,
            error: messageOf(error),
          });
          this.#schedule(id, remove, pauseMs, attempt + 1);
        }
      });
    }, delayMs);
    timer.unref();
    this.#timers.set(id, timer);
  }

  /** Stops retrying, when the daemon exits. The recovery of the next daemon finds what is left. */
  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }
}
