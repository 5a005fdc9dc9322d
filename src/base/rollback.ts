import { setTimeout as sleep } from "node:timers/promises";
import { beforeAbort } from "./wait.ts";

/** How a {@link Rollback} behaves when an undo does not work at once. */
export interface RollbackOptions {
  /** How long all steps together may take before `onStuck` is called. Milliseconds. */
  readonly totalMs?: number;
  /** How often each step is tried. */
  readonly tries?: number;
  /** Called after each failed try, for the log. */
  readonly onRetry?: (what: string, error: unknown) => void;
  /**
   * Called once when a step cannot be undone. The callee then owns the rest of the object and must
   * try again later. Steps below the stuck one have not run.
   */
  readonly onStuck?: (what: string, error: unknown) => void | Promise<void>;
}

type Undo = (signal: AbortSignal) => unknown;

const firstPauseMs = 20;

/**
 * Undoes the steps of a failed request, newest first, unless the request calls commit().
 *
 * Unlike `AsyncDisposableStack` it stops at a step that cannot be undone, because a later attempt needs the steps below
 * it (the namespace, the record, the name). Each undo has a deadline of its own, not the expired one of the request.
 * And disposal never throws, so that the caller gets the error of the request and not that of the cleanup.
 *
 * An undo must be idempotent and succeed when the object does not exist. Register it before a step that can
 * succeed in part, and after a step that either succeeds or has no effect.
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

  /** A failure of onStuck must not hide why the request failed, so it is reported like that of an undo. */
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
