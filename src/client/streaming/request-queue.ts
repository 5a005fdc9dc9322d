/** The requests of a call, which its sender reads as fast as the server takes them. */
export class RequestQueue<T> implements AsyncIterable<T> {
  readonly #items: { readonly value: T; readonly onTaken: () => void }[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  /** Adds a request; `onTaken` is called when it was sent. */
  push(value: T, onTaken: () => void = () => undefined): void {
    if (this.#ended) {
      onTaken();
      return;
    }
    this.#items.push({ value, onTaken });
    this.#wake?.();
  }

  /** Ends the requests: those that were not sent are dropped. */
  end(): void {
    this.#ended = true;
    for (const { onTaken } of this.#items.splice(0)) onTaken();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        yield item.value;
        item.onTaken();
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
