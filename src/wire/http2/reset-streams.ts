import { limits } from "./limits.ts";

/** Beyond it, the oldest are forgotten. */
const maxCount = 2 * limits.maxStreams;

/**
 * Streams that the server has reset before their client had ended its side. What the client still sends on them is
 * ignored, because it may not have read RST_STREAM yet (RFC 9113, section 5.1).
 */
export class ResetStreams {
  readonly #ids = new Set<number>();

  add(id: number): void {
    this.#ids.add(id);
    if (this.#ids.size <= maxCount) return;
    const [oldest = id] = this.#ids;
    this.#ids.delete(oldest);
  }

  has(id: number): boolean {
    return this.#ids.has(id);
  }

  /** The client has reset the stream, too. */
  delete(id: number): void {
    this.#ids.delete(id);
  }
}
