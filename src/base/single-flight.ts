/**
 * Runs one piece of work a key at a time: who asks for it while it runs waits for the same one. For
 * work that may hang in the kernel, so that each retry does not hang beside the last.
 */
export class SingleFlight {
  readonly #running = new Map<string, Promise<void>>();

  /** Does `work`, or joins the one that runs for this key, with its result. */
  do(key: string, work: () => Promise<void>): Promise<void> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = work().finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }
}
