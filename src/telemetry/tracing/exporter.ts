import type { Logger } from "../../base/logger.ts";
import type { SpanEncoder } from "./encode.ts";
import { LostSpans } from "./lost-spans.ts";
import type { OtlpClient, Outcome } from "./otlp-client.ts";
import type { Span, SpanSink } from "./span.ts";
import { type QueueLimits, SpanQueue } from "./span-queue.ts";

/** When an exporter sends, and when it gives up. Milliseconds. */
export interface ExportTimes {
  /** The longest wait for more spans before a request. */
  readonly gatherMs: number;
  /** The first wait before a request is repeated. Each further one is twice as long. */
  readonly retryMs: number;
  /** The longest of these waits. */
  readonly maxRetryMs: number;
  /** The longest wait that a collector can ask for (Retry-After). */
  readonly maxThrottleMs: number;
  /** How long the end of the daemon waits for the last requests. */
  readonly flushMs: number;
}

/** The times of a daemon. */
export const exportTimes: ExportTimes = {
  gatherMs: 5_000,
  retryMs: 1_000,
  maxRetryMs: 30_000,
  maxThrottleMs: 300_000,
  flushMs: 1_000,
};

/** The limits of a daemon. The spans of a pod with one container are about 40, of 250 bytes each. */
const queueLimits: QueueLimits = {
  spans: 8_192,
  bytes: 4 * 1024 * 1024,
  batchSpans: 512,
  batchBytes: 512 * 1024,
};

/** How often a request is sent before its spans are dropped, so that newer ones take their place. */
const maxTries = 5;

/** What an exporter is made of. */
export interface ExporterParts {
  readonly encoder: SpanEncoder;
  readonly client: Pick<OtlpClient, "send"> & Disposable;
  readonly log: Logger;
  /** The collector, as the log may show it. */
  readonly endpoint: string;
  readonly limits?: QueueLimits;
  readonly times?: ExportTimes;
}

/**
 * Sends spans to a collector in batches, one request at a time. Nothing ever waits for it: when the collector
 * is slow or gone, the queue fills up and further spans are dropped and counted.
 */
export class SpanExporter implements SpanSink, AsyncDisposable {
  readonly #parts: ExporterParts;
  readonly #times: ExportTimes;
  readonly #queue: SpanQueue;
  readonly #lost: LostSpans;
  /** Aborted when the flush at the end has taken too long. */
  readonly #over = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  /** Ends the wait before a request is repeated. */
  #hurry: (() => void) | undefined;
  #isClosing = false;
  /** Requests that failed since the last one that did not. */
  #failures = 0;
  #sent = 0;

  constructor(parts: ExporterParts) {
    this.#parts = parts;
    this.#times = parts.times ?? exportTimes;
    this.#queue = new SpanQueue(parts.limits ?? queueLimits);
    this.#lost = new LostSpans(parts);
  }

  /** The spans that were accepted, that wait, and that were dropped. */
  get counts(): { readonly sent: number; readonly waiting: number; readonly dropped: number } {
    return { sent: this.#sent, waiting: this.#queue.length, dropped: this.#lost.total };
  }

  add(span: Span): void {
    if (this.#isClosing || !this.#queue.hasRoom) {
      this.#lost.add(1, "the queue is full: the collector does not keep up");
      return;
    }
    this.#queue.push(this.#parts.encoder.encode(span));
    if (this.#sending !== undefined) return;
    if (this.#queue.hasBatch) this.#begin();
    else this.#timer ??= setTimeout(() => this.#begin(), this.#times.gatherMs).unref();
  }

  #begin(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
      if (this.#queue.length > 0 && !this.#isClosing) {
        this.#timer = setTimeout(() => this.#begin(), this.#times.gatherMs).unref();
      }
    });
  }

  /** Sends what waits; the rest that is less than a batch only when it was waiting from the beginning. */
  async #sendAll(): Promise<void> {
    do {
      const batch = this.#queue.take();
      if (batch.length === 0) return;
      await this.#sendBatch(batch);
    } while (this.#isClosing ? !this.#over.signal.aborted : this.#queue.hasBatch);
  }

  /** Sends a batch until it is accepted, rejected, or failed too often. */
  async #sendBatch(batch: readonly Uint8Array[]): Promise<void> {
    const body = this.#parts.encoder.request(batch);
    for (let tries = 1; ; tries++) {
      const outcome = await this.#parts.client.send(body, this.#over.signal);
      if (outcome.kind !== "retry") {
        this.#failures = 0;
        this.#count(batch.length, outcome);
        return;
      }
      this.#failures += 1;
      if (tries === maxTries || this.#isClosing) {
        this.#lost.add(batch.length, outcome.reason);
        // The collector is gone: the others would only fail as well.
        if (this.#isClosing) this.#over.abort();
        return;
      }
      await this.#wait(retryDelay(this.#failures, outcome.afterMs, this.#times));
    }
  }

  #count(spans: number, outcome: Exclude<Outcome, { readonly kind: "retry" }>): void {
    const lost =
      outcome.kind === "accepted"
        ? 0
        : outcome.kind === "rejected"
          ? spans
          : Math.min(Math.max(outcome.rejected, 0), spans);
    this.#sent += spans - lost;
    if (outcome.kind !== "accepted") this.#lost.add(lost, outcome.reason);
  }

  #wait(ms: number): Promise<void> {
    if (this.#isClosing) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Sends what waits, for `flushMs` at most, and drops the rest. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    const limit = setTimeout(() => this.#over.abort(), this.#times.flushMs);
    this.#hurry?.();
    await this.#sending;
    if (!this.#over.signal.aborted) this.#begin();
    await this.#sending;
    clearTimeout(limit);
    clearTimeout(this.#timer);
    this.#lost.add(this.#queue.length, "davit stopped before the collector accepted them");
    this.#lost[Symbol.dispose]();
    this.#parts.client[Symbol.dispose]();
  }
}

/**
 * The wait before a request is repeated after `failures` in a row: what the collector asks for, or twice the last
 * wait, with a random part, so that the nodes of a cluster do not return all at once.
 */
export function retryDelay(
  failures: number,
  afterMs: number | undefined,
  times: ExportTimes,
  random: () => number = Math.random,
): number {
  if (afterMs !== undefined) return Math.min(afterMs, times.maxThrottleMs);
  const ms = Math.min(times.retryMs * 2 ** (failures - 1), times.maxRetryMs);
  return ms * (0.5 + random() / 2);
}
