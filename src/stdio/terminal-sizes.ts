import type { TerminalSize } from "../core/streaming/index.ts";

/** The kernel's own fields have 16 bits (ioctl_tty(2)). */
const maxSide = 0xffff;

/** The sizes of a client's terminal as they arrive. Only the latest counts. */
export class TerminalSizes implements Disposable {
  /** Undefined before the client has sent one. */
  latest: TerminalSize | undefined;
  readonly #iterator: AsyncIterator<TerminalSize>;
  #listener: ((size: TerminalSize) => void) | undefined;
  #disposed = false;

  constructor(sizes: AsyncIterable<TerminalSize>) {
    this.#iterator = sizes[Symbol.asyncIterator]();
    void this.#run();
  }

  /** Calls `listener` with the latest size, if there is one, and with each later one. */
  follow(listener: (size: TerminalSize) => void): void {
    this.#listener = listener;
    if (this.latest !== undefined) listener(this.latest);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#listener = undefined;
    this.#iterator.return?.().catch(() => undefined);
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const next = await this.#iterator.next();
        if (next.done === true || this.#disposed) return;
        const { width, height } = next.value;
        if (!isSide(width) || !isSide(height)) continue;
        this.latest = { width, height };
        this.#listener?.(this.latest);
      }
    } catch {
      // The client is gone; the terminal keeps its size.
    }
  }
}

/** An invalid size must not reach the OCI runtime, which would refuse the whole command. */
function isSide(length: number): boolean {
  return Number.isInteger(length) && length >= 0 && length <= maxSide;
}
