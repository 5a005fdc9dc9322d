import { setTimeout as sleep } from "node:timers/promises";
import { beforeAbort } from "./wait.ts";

/** How a {@link Rollback} behaves when an undo does not work at once. */
export interface RollbackOptions {
  /** Time the whole undoing may take before it is given up to `onStuck`. Milliseconds. */
  readonly totalMs?: number;
  /** How often each step is tried. */
  readonly tries?: number;
  /** Called after each failed try, for the log. */
  readonly onRetry?: (what: string, error: unknown) => void;
  /**
   * Called once when a step stays undone: what is left of the object must then be owned by
   * somebody who goes on trying. Steps below the stuck one have not run.
   */
  readonly onStuck?: (what: string, error: unknown) => void | Promise<void>;
}

type Undo = (signal: AbortSignal) => unknown;

const firstPauseMs = 20;

/**
 * Undoes what a failed request has built, newest first, unless the request says commit().
 *
 * Unlike `AsyncDisposableStack` it stops at a step that cannot be undone, because the steps below
 * it (the namespace, the record, the name) are what a later attempt needs; every undo has a clock
 * of its own and never sees the request's expired one; and disposal never throws, so that the
 * caller sees why the request failed and not why the cleaning-up did.
 *
 * An undo must be idempotent and take "already gone" as done. Register it before a step that can
 * half-succeed, after a step that either happens or does not.
 */
export class Rollback implements AsyncDisposable {
  readonly #steps: { readonly what: string; readonly undo: Undo }[] = [];
  readonly #options: Required<RollbackOptions>;

  constructor(options: RollbackOptions = {}) {
    this.#options = {
      totalMs: 5_000,
      tries: 3,
      onRetry: () => undefined,
      onStuck: () => undefined,
      ...options,
    };
  }

  /** Adds an undo. `what` is a phrase for the log: "delete the record". */
  defer(what: string, undo: Undo): void {
    this.#steps.push({ what, undo });
  }

  /** The request succeeded: nothing will be undone. */
  commit(): void {
    this.#steps.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const signal = AbortSignal.timeout(this.#options.totalMs);
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      const failure = await this.#try(step.what, step.undo, signal);
      if (failure !== undefined) {
        this.#steps.length = 0;
        await this.#handOver(step.what, failure.error);
        return;
      }
    }
  }

  /** A failure of onStuck must not hide why the request failed: it is told like that of an undo. */
  async #handOver(what: string, failure: unknown): Promise<void> {
    try {
      await this.#options.onStuck(what, failure);
    } catch (error) {
      this.#options.onRetry(`hand over "${what}"`, error);
    }
  }

  async #try(
    what: string,
    undo: Undo,
    signal: AbortSignal,
  ): Promise<{ error: unknown } | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        await beforeAbort(Promise.resolve(undo(signal)), signal);
        return undefined;
      } catch (error) {
        this.#options.onRetry(what, error);
        if (attempt >= this.#options.tries || signal.aborted) return { error };
        await sleep(firstPauseMs * 2 ** attempt);
      }
    }
  }
}
