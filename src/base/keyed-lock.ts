import { beforeAbort } from "./wait.ts";

/**
 * One lock per key, first come first served.
 *
 * A key that is not held uses no memory. `using` releases it:
 * `using _lock = await lock.acquire(id)`.
 */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for the key. When the signal is aborted, it rejects with the reason and leaves the queue. */
  async acquire(key: string, signal?: AbortSignal): Promise<Disposable> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
    const tail = before.then(() => released);
    this.#tails.set(key, tail);
    const leave = (): void => {
      release(undefined);
      // Not before earlier holders are done: an aborted waiter must not free a key that is held.
      void tail.then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      });
    };
    try {
      await (signal === undefined ? before : beforeAbort(before, signal));
    } catch (error) {
      // The next waiter gets the key as soon as the earlier holders are done.
      leave();
      throw error;
    }
    return { [Symbol.dispose]: leave };
  }

  /** True while the key is held or waited for. */
  isHeld(key: string): boolean {
    return this.#tails.has(key);
  }
}
