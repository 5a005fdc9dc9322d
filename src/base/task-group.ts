import { messageOf } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { within } from "./wait.ts";

const closeMs = 5_000;

/**
 * Owns background tasks: each has a name, its failure is logged, and all of them
 * end with the daemon.
 */
export class TaskGroup implements AsyncDisposable {
  readonly #log: Logger;
  readonly #controller = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Aborted when the group closes. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Runs `task` in the background. A failure is one log line, unless the group is closing. */
  spawn(name: string, task: (signal: AbortSignal) => Promise<void>): void {
    const run = async (): Promise<void> => {
      try {
        await task(this.signal);
      } catch (error) {
        if (!this.signal.aborted) this.#log.error(`${name}: ${messageOf(error)}`, { error });
      }
    };
    const promise = run().finally(() => this.#running.delete(promise));
    this.#running.add(promise);
  }

  /** Aborts the running tasks and waits for their end, 5 s at most: a task may hang in the kernel. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort(new Error("the daemon is shutting down"));
    await within(Promise.all(this.#running), closeMs);
    if (this.#running.size > 0) {
      this.#log.warn("background tasks did not end in time and are abandoned", {
        tasks: this.#running.size,
      });
    }
  }
}
