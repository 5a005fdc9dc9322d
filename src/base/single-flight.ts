/**
 * Runs one piece of work for each key at a time. Callers that request it while it runs wait for the same run. For
 * work that may hang in the kernel, so that retries do not hang, too.
 */
export class SingleFlight {
  readonly #running = new Map<string, Promise<void>>();

  /** Runs `work`, or waits for the run of this key that is in progress, with its result. */
  do(key: string, work: () => Promise<void>): Promise<void> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = work().finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }
}
