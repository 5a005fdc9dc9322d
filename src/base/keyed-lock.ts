/**
 * One lock per key, first come first served.
 *
 * A key costs nothing while nobody holds it. `using` releases:
 * `using _held = await lock.acquire(id)`.
 */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for the key's turn. The wait ends early with the signal's reason; the turn is then given up. */
  async acquire(key: string, signal?: AbortSignal): Promise<Disposable> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
    const tail = before.then(() => released);
    this.#tails.set(key, tail);
    const leave = (): void => {
      release(undefined);
      // Not before those ahead of us are done: a waiter that gave up must not free a held key.
      void tail.then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      });
    };
    try {
      await (signal === undefined ? before : untilAborted(before, signal));
    } catch (error) {
      // Our turn will come to nobody: pass it on as soon as those before us are done.
      leave();
      throw error;
    }
    return { [Symbol.dispose]: leave };
  }

  /** True while somebody holds or waits for the key. */
  isHeld(key: string): boolean {
    return this.#tails.has(key);
  }
}

async function untilAborted(turn: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const onAbort = (): void => {
    reject(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  void turn.then(() => {
    resolve(undefined);
  });
  try {
    await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
