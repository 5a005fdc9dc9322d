/** Gives out at most `permits` permits at a time, first come first served. */
export class Semaphore {
  #free: number;
  readonly #waiting: { readonly enter: () => void; readonly signal: AbortSignal | undefined }[] =
    [];

  constructor(permits: number) {
    this.#free = permits;
  }

  /** The number of callers that wait for a permit. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Waits for a permit; disposing of the result releases it. Rejects with the signal's reason when it is aborted. */
  async acquire(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#nextPermit(signal);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#release();
        held = false;
      },
    };
  }

  async #nextPermit(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const entry = {
      enter: () => {
        resolve(undefined);
      },
      signal,
    };
    const onAbort = (): void => {
      const at = this.#waiting.indexOf(entry);
      if (at >= 0) this.#waiting.splice(at, 1);
      reject(signal?.reason);
    };
    this.#waiting.push(entry);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next.enter();
  }
}
