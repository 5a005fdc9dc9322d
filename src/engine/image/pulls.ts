import type { Digest } from "../../base/digest.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";

interface Pull<T> {
  readonly done: Promise<T>;
  readonly abort: AbortController;
  waiters: number;
}

/**
 * Work that is done once however often it is asked for: the same pull, the same layer. It ends
 * early when nobody waits for it any more.
 */
export class Pulls {
  readonly #running = new Map<string, Pull<unknown>>();
  readonly #claims = new Set<readonly Digest[]>();
  readonly #tasks: TaskGroup;

  constructor(tasks: TaskGroup) {
    this.#tasks = tasks;
  }

  /**
   * The result of `work` for `key`: of the one that runs already, or of a new one. Rejects with
   * the caller's reason when the caller goes away first; the work goes on for the others.
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

  /** The layers that a pull under way counts on. */
  *claimed(): Iterable<Digest> {
    for (const claim of this.#claims) yield* claim;
  }

  #begin<T>(key: string, work: (signal: AbortSignal) => Promise<T>): Pull<T> {
    const abort = new AbortController();
    const { promise: done, resolve, reject } = Promise.withResolvers<T>();
    done.catch(() => undefined); // whoever waits hears of it
    const pull: Pull<T> = { done, abort, waiters: 0 };
    this.#running.set(key, pull);
    // Without the key in its name, which is for the log: credentials may be a part of it.
    this.#tasks.spawn("pull", async (closing) => {
      try {
        resolve(await work(AbortSignal.any([abort.signal, closing])));
      } catch (error) {
        reject(error);
      } finally {
        if (this.#running.get(key) === pull) this.#running.delete(key);
      }
    });
    // A pull that is being given up must not be joined by the next one who asks.
    abort.signal.addEventListener("abort", () => {
      if (this.#running.get(key) === pull) this.#running.delete(key);
    });
    return pull;
  }
}
