interface Request<V> {
  readonly key: string;
  readonly result: PromiseWithResolvers<V>;
}

/** How requests become jobs. */
interface BatchLimits {
  /** Keys in one job. */
  readonly size: number;
  /** When a job takes longer than this, its keys get jobs of their own. Milliseconds. */
  readonly lateMs: number;
}

/**
 * Collects what is requested in one turn of the event loop, for jobs that read many things at once. When one key of a
 * job hangs, the others are delayed by `lateMs` and then read separately.
 */
export class Batches<V> {
  readonly #run: (keys: readonly string[]) => Promise<readonly V[]>;
  readonly #limits: BatchLimits;
  #pending: Request<V>[] = [];

  /** `run` returns a value for each key, in the order of the keys. */
  constructor(run: (keys: readonly string[]) => Promise<readonly V[]>, limits: BatchLimits) {
    this.#run = run;
    this.#limits = limits;
  }

  /** The value of a key. Rejects when its job does. */
  get(key: string): Promise<V> {
    const result = Promise.withResolvers<V>();
    if (this.#pending.push({ key, result }) === 1) {
      queueMicrotask(() => {
        this.#startPending();
      });
    }
    return result.promise;
  }

  #startPending(): void {
    const pending = this.#pending;
    this.#pending = [];
    const { size } = this.#limits;
    for (let from = 0; from < pending.length; from += size) {
      void this.#runBatch(pending.slice(from, from + size));
    }
  }

  /** Never rejects: the results do. */
  async #runBatch(requests: readonly Request<V>[]): Promise<void> {
    const timer = setTimeout(() => {
      if (requests.length === 1) return;
      for (const request of requests) void this.#runAll([request]);
    }, this.#limits.lateMs);
    await this.#runAll(requests);
    clearTimeout(timer);
  }

  async #runAll(requests: readonly Request<V>[]): Promise<void> {
    try {
      const values = await this.#run(requests.map(({ key }) => key));
      for (const [index, { result }] of requests.entries()) result.resolve(values[index] as V);
    } catch (error) {
      for (const { result } of requests) result.reject(error);
    }
  }
}
