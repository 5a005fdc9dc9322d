import type { TerminalSize } from "../core/streaming/index.ts";

/** The kernel's own fields have 16 bits (ioctl_tty(2)). */
const maxSide = 0xffff;

/** A promise that it returns is awaited. Must not throw or reject. */
type SizeListener = (size: TerminalSize) => unknown;

/** The sizes of a client's terminal as they arrive. Only the latest counts. */
export class TerminalSizes implements Disposable {
  /** Undefined before the client has sent one. */
  latest: TerminalSize | undefined;
  readonly #iterator: AsyncIterator<TerminalSize>;
  #listener: SizeListener | undefined;
  /** The size that the listener was called with last. */
  #told: TerminalSize | undefined;
  #isTelling = false;
  #disposed = false;

  constructor(sizes: AsyncIterable<TerminalSize>) {
    this.#iterator = sizes[Symbol.asyncIterator]();
    void this.#run();
  }

  /**
   * Calls `listener` with the latest size, if there is one, and with each later one. While its promise is pending, only the
   * latest of those that arrive is kept: a server that gets two sizes at once may apply them in either order.
   */
  follow(listener: SizeListener): void {
    this.#listener = listener;
    void this.#tell();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#listener = undefined;
    this.#iterator.return?.().catch(() => undefined);
  }

  async #tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    while (this.#listener !== undefined && this.latest !== this.#told) {
      this.#told = this.latest;
      if (this.latest !== undefined) await this.#listener(this.latest);
    }
    this.#isTelling = false;
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const next = await this.#iterator.next();
        if (next.done === true || this.#disposed) return;
        const { width, height } = next.value;
        if (!isSide(width) || !isSide(height)) continue;
        this.latest = { width, height };
        void this.#tell();
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
