import type { Logger } from "../../base/logger.ts";

/** Between two warnings. Milliseconds. */
const warnEveryMs = 60_000;

/** Counts the spans that were not delivered, and logs their number once a minute at most. */
export class LostSpans implements Disposable {
  readonly #log: Logger;
  readonly #endpoint: string;
  #total = 0;
  #unreported = 0;
  #reason = "";
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: { readonly log: Logger; readonly endpoint: string }) {
    this.#log = deps.log;
    this.#endpoint = deps.endpoint;
  }

  /** Since the start. */
  get total(): number {
    return this.#total;
  }

  /** `reason` must not contain credentials. The latest one is logged. */
  add(spans: number, reason: string): void {
    if (spans === 0) return;
    this.#total += spans;
    this.#unreported += spans;
    this.#reason = reason;
    if (this.#timer === undefined) this.#report();
  }

  #report(): void {
    this.#timer = undefined;
    if (this.#unreported === 0) return;
    this.#log.warn("trace spans were dropped", {
      spans: this.#unreported,
      endpoint: this.#endpoint,
      reason: this.#reason,
    });
    this.#unreported = 0;
    this.#timer = setTimeout(() => this.#report(), warnEveryMs);
    this.#timer.unref();
  }

  /** Logs what was not logged yet. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#report();
    clearTimeout(this.#timer);
  }
}
