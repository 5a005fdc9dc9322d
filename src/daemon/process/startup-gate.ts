/** Holds calls until recovery has produced a value, for a limited time. */
export class StartupGate<T> implements Disposable {
  readonly #over = Promise.withResolvers<undefined>();
  readonly #timer: NodeJS.Timeout;
  #value: T | undefined;

  /** The wait ends `patienceMs` from now at the latest. */
  constructor(patienceMs: number) {
    this.#timer = setTimeout(this.#over.resolve, patienceMs, undefined).unref();
  }

  /** Undefined until open(). */
  get value(): T | undefined {
    return this.#value;
  }

  /** Resolves at open(), at disposal and when the time is over. */
  get settled(): Promise<void> {
    return this.#over.promise;
  }

  /** Sets the value and ends the wait. */
  open(value: T): void {
    this.#value = value;
    this[Symbol.dispose]();
  }

  /** Ends the wait; a value that was set stays. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#over.resolve(undefined);
  }
}
