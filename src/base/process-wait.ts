/** The result of a wait that ended with the process, or with its answer. */
export const gone = Symbol("the process has answered");

interface ProcessWaitOptions {
  /** Settles when the process has answered or ended. Never rejects. */
  readonly gone: Promise<unknown>;
  /** Ends each wait with its reason. */
  readonly signal: AbortSignal;
  /** How long the process may make no progress. */
  readonly stallMs: number;
  /** The error when it takes longer. */
  readonly stalled: () => Error;
}

/**
 * Waits for one promise at a time while a process works: until the process is gone, the signal is aborted or time is up.
 * Keeps nothing of a wait that is over, however many there are.
 */
export class ProcessWait implements Disposable {
  readonly signal: AbortSignal;
  readonly #options: ProcessWaitOptions;
  #isGone = false;
  #cut: { readonly gone: () => void; readonly fail: (reason: unknown) => void } | undefined;

  constructor(options: ProcessWaitOptions) {
    this.signal = options.signal;
    this.#options = options;
    options.signal.addEventListener("abort", this.#onAbort, { once: true });
    void options.gone.then(() => {
      this.#isGone = true;
      this.#cut?.gone();
    });
  }

  [Symbol.dispose](): void {
    this.signal.removeEventListener("abort", this.#onAbort);
  }

  /** Returns `gone` when the process is gone first; rejects by the signal, and after `stallMs` if limited. */
  async until<T>(promise: Promise<T>, how: "limited" | "unlimited"): Promise<T | typeof gone> {
    const { stallMs, stalled } = this.#options;
    const { promise: answer, resolve, reject } = Promise.withResolvers<T | typeof gone>();
    promise.then(resolve, reject);
    // It has no reader if the signal was aborted before.
    answer.catch(() => undefined);
    this.signal.throwIfAborted();
    if (this.#isGone) return gone;
    this.#cut = { gone: () => resolve(gone), fail: reject };
    const timer = how === "limited" ? setTimeout(() => reject(stalled()), stallMs) : undefined;
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
      this.#cut = undefined;
    }
  }

  readonly #onAbort = (): void => this.#cut?.fail(this.signal.reason);
}
