import { within } from "../../base/wait.ts";

interface Entry<T> {
  value: T | undefined;
  /** When the value was complete, and when it was last asked for; milliseconds of the clock. */
  at: number;
  usedAt: number;
  /** The measurement in progress. */
  pending: { readonly promise: Promise<void>; readonly since: number } | undefined;
}

/** How long values live. Milliseconds. */
interface SampleTimes {
  /** For how long a value is good. */
  readonly freshMs: number;
  /** For how long a measuring is waited for: one that takes longer is stuck. */
  readonly patienceMs: number;
}

/** A value that is not requested during this time is dropped, within this time again. */
const forgetMs = 300_000;

/**
 * Values that cost something to measure, by key. A value is measured again when it is asked for and
 * older than `freshMs`, and never twice in parallel: a measurement that hangs in the kernel holds one
 * thread, however often it is asked for.
 */
export class Samples<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #times: SampleTimes;
  readonly #nowMs: () => number;
  readonly #onForgotten: (key: string) => void;
  #sweptAt = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `nowMs` is monotonic. `onForgotten` is called with the keys of dropped values. */
  constructor(
    times: SampleTimes,
    nowMs: () => number,
    onForgotten: (key: string) => void = () => undefined,
  ) {
    this.#times = times;
    this.#nowMs = nowMs;
    this.#onForgotten = onForgotten;
  }

  /** Values in memory, for tests. */
  get size(): number {
    return this.#entries.size;
  }

  /** The last value, however old. */
  last(key: string): T | undefined {
    return this.#entries.get(key)?.value;
  }

  /** The last value if it was not older than `freshMs` at `sinceMs`. */
  fresh(key: string, sinceMs: number, freshMs = this.#times.freshMs): T | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && sinceMs - entry.at < freshMs ? entry.value : undefined;
  }

  /**
   * Starts a measurement unless the value is fresh. The result is what to wait for, undefined when the value
   * is fresh or its measurement is stuck.
   * It never rejects: a failed measuring leaves the last value and its age.
   */
  refresh(
    key: string,
    measure: () => Promise<T>,
    freshMs = this.#times.freshMs,
  ): Promise<void> | undefined {
    const now = this.#nowMs();
    if (now - this.#sweptAt >= forgetMs) this.#sweep(now);
    this.#sweepLater();
    const entry = this.#entryOf(key, now);
    const { pending } = entry;
    if (pending !== undefined) {
      return now - pending.since < this.#times.patienceMs ? pending.promise : undefined;
    }
    if (entry.value !== undefined && now - entry.at < freshMs) return undefined;
    const promise = this.#measure(entry, measure);
    entry.pending = { promise, since: now };
    return promise;
  }

  /** Drops the value of a key. The result of a measurement in progress is discarded. */
  forget(key: string): void {
    this.#entries.delete(key);
  }

  async #measure(entry: Entry<T>, measure: () => Promise<T>): Promise<void> {
    try {
      entry.value = await measure();
      entry.at = this.#nowMs();
    } catch {
      // Not reported: the value is missing, which every reader must expect.
    } finally {
      entry.pending = undefined;
    }
  }

  #entryOf(key: string, now: number): Entry<T> {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.usedAt = now;
      return known;
    }
    const entry: Entry<T> = { value: undefined, at: 0, usedAt: now, pending: undefined };
    this.#entries.set(key, entry);
    return entry;
  }

  /** For values that nobody asks for any more: what they hold, such as open files, would stay. */
  #sweepLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#sweep(this.#nowMs());
      if (this.#entries.size > 0) this.#sweepLater();
    }, forgetMs).unref();
  }

  #sweep(now: number): void {
    this.#sweptAt = now;
    for (const [key, { usedAt, pending }] of this.#entries) {
      if (now - usedAt < forgetMs || pending !== undefined) continue;
      this.#entries.delete(key);
      this.#onForgotten(key);
    }
  }
}

/** Waits until all of the work is done, but not longer than `limitMs`. None of it may reject. */
export async function settled(
  work: readonly (Promise<void> | undefined)[],
  limitMs: number,
): Promise<void> {
  const waiting = work.filter((promise) => promise !== undefined);
  if (waiting.length === 0) return;
  await within(Promise.all(waiting), limitMs);
}
