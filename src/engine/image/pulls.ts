import type { Digest } from "../../base/digest.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";

interface Pull<T> {
  readonly done: Promise<T>;
  readonly abort: AbortController;
  waiters: number;
}

/**
 * Deduplicates work: equal pulls and equal layers run once at a time. Work is aborted when its last
 * caller is gone.
 */
export class Pulls {
  readonly #running = new Map<string, Pull<unknown>>();
  readonly #claims = new Set<readonly Digest[]>();
  readonly #tasks: TaskGroup;

  constructor(tasks: TaskGroup) {
    this.#tasks = tasks;
  }

  /**
   * Joins the running work for `key`, or starts `work`, and returns its result. Rejects with the reason
   * of `caller` when that is aborted first; the work continues for the other callers.
   */
  async join<T>(
    key: string,
    caller: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    caller.throwIfAborted();
    const pull = (this.#running.get(key) as Pull<T> | undefined) ?? this.#begin(key, work);
    pull.waiters++;
    try {
      return await beforeAbort(pull.done, caller);
    } finally {
      pull.waiters--;
      if (pull.waiters === 0) pull.abort.abort(caller.reason);
    }
  }

  /** Keeps these layers from being removed as unused, until the result is disposed of. */
  claim(layers: readonly Digest[]): Disposable {
    const claim = [...layers];
    this.#claims.add(claim);
    return { [Symbol.dispose]: () => this.#claims.delete(claim) };
  }

  /** The layers that pulls in progress have claimed, of each pull lowest first. */
  claimedChains(): Iterable<readonly Digest[]> {
    return this.#claims;
  }

  #begin<T>(key: string, work: (signal: AbortSignal) => Promise<T>): Pull<T> {
    const abort = new AbortController();
    const { promise: done, resolve, reject } = Promise.withResolvers<T>();
    done.catch(() => undefined); // the callers that wait get the failure
    const pull: Pull<T> = { done, abort, waiters: 0 };
    this.#running.set(key, pull);
    // The name appears in the log. It does not have the key, which may contain credentials.
    this.#tasks.spawn("pull", async (closing) => {
      try {
        resolve(await work(AbortSignal.any([abort.signal, closing])));
      } catch (error) {
        reject(error);
      } finally {
        if (this.#running.get(key) === pull) this.#running.delete(key);
      }
    });
    // The next caller must not join a pull that is being aborted.
    abort.signal.addEventListener("abort", () => {
      if (this.#running.get(key) === pull) this.#running.delete(key);
    });
    return pull;
  }
}
