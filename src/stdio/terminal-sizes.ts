import type { TerminalSize } from "../core/streaming/index.ts";

/** The kernel's own fields have 16 bits (ioctl_tty(2)). */
const longestSide = 0xffff;

/** The sizes of a client's terminal as they come, of which only the latest counts. */
export class Sizes implements Disposable {
  /** Undefined before the client told one. */
  latest: TerminalSize | undefined;
  readonly #iterator: AsyncIterator<TerminalSize>;
  #listener: ((size: TerminalSize) => void) | undefined;
  #over = false;

  constructor(sizes: AsyncIterable<TerminalSize>) {
    this.#iterator = sizes[Symbol.asyncIterator]();
    void this.#run();
  }

  /** Calls `listener` with the latest size, if there is one, and with those that come from now on. */
  follow(listener: (size: TerminalSize) => void): void {
    this.#listener = listener;
    if (this.latest !== undefined) listener(this.latest);
  }

  [Symbol.dispose](): void {
    this.#over = true;
    this.#listener = undefined;
    this.#iterator.return?.().catch(() => undefined);
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const next = await this.#iterator.next();
        if (next.done === true || this.#over) return;
        const { width, height } = next.value;
        if (!isSide(width) || !isSide(height)) continue;
        this.latest = { width, height };
        this.#listener?.(this.latest);
      }
    } catch {
      // The client is gone, or its terminal: what has a size keeps it.
    }
  }
}

/** What is no size must not reach the runtime, which would refuse the whole command. */
function isSide(length: number): boolean {
  return Number.isInteger(length) && length >= 0 && length <= longestSide;
}
