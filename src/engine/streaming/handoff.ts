/** Passes values from one writer to one reader. The writer waits for the reader, so that nothing is queued. */
export class Handoff<T> implements AsyncIterable<T> {
  #value: { readonly item: T; readonly taken: () => void } | undefined;
  #wake: (() => void) | undefined;
  #closed = false;

  /** Resolves when the reader has taken the value, or after close(). */
  async put(item: T): Promise<void> {
    if (this.#closed) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    // If the one before was not awaited, the reader gets only the latest.
    this.#value?.taken();
    this.#value = {
      item,
      taken: () => {
        resolve(undefined);
      },
    };
    this.#wake?.();
    await promise;
  }

  /** Ends the values. One that was not taken is dropped. */
  close(): void {
    this.#closed = true;
    this.#value?.taken();
    this.#value = undefined;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const value = this.#value;
      if (value !== undefined) {
        this.#value = undefined;
        value.taken();
        yield value.item;
        continue;
      }
      if (this.#closed) return;
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => {
        resolve(undefined);
      };
      await promise;
    }
  }
}
