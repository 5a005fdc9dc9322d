/** What is on its way: whoever comes before it waits, but not for long. */
export class StartupGate<T> implements Disposable {
  readonly #over = Promise.withResolvers<undefined>();
  readonly #timer: NodeJS.Timeout;
  #value: T | undefined;

  /** Nobody waits longer than until `patienceMs` from now. */
  constructor(patienceMs: number) {
    this.#timer = setTimeout(this.#over.resolve, patienceMs, undefined).unref();
  }

  /** Undefined until it is here. */
  get value(): T | undefined {
    return this.#value;
  }

  /** Resolves when it is here, when it will not come, and when the time is over. */
  get settled(): Promise<void> {
    return this.#over.promise;
  }

  /** It is here. */
  open(value: T): void {
    this.#value = value;
    this[Symbol.dispose]();
  }

  /** Nobody waits any more; what is here stays. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#over.resolve(undefined);
  }
}
