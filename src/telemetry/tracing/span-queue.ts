/** The limits of a {@link SpanQueue}, for all spans and for a batch. */
export interface QueueLimits {
  readonly spans: number;
  readonly bytes: number;
  readonly batchSpans: number;
  readonly batchBytes: number;
}

/** Encoded spans that wait to be sent, oldest first. Both their number and their bytes are bounded. */
export class SpanQueue {
  readonly #limits: QueueLimits;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#parts.length;
  }

  /** False when there are too many. Checked before a span is encoded, so that a full queue costs nothing. */
  get hasRoom(): boolean {
    return this.#parts.length < this.#limits.spans && this.#bytes < this.#limits.bytes;
  }

  /** True when there is enough for a request. */
  get hasBatch(): boolean {
    return this.#parts.length >= this.#limits.batchSpans || this.#bytes >= this.#limits.batchBytes;
  }

  push(part: Uint8Array): void {
    this.#parts.push(part);
    this.#bytes += part.length;
  }

  /** Removes and returns the spans of the next request; empty when there are none. */
  take(): readonly Uint8Array[] {
    let [count, bytes] = [0, 0];
    for (const part of this.#parts) {
      if (count > 0 && bytes + part.length > this.#limits.batchBytes) break;
      if (count === this.#limits.batchSpans) break;
      count += 1;
      bytes += part.length;
    }
    this.#bytes -= bytes;
    return this.#parts.splice(0, count);
  }
}
