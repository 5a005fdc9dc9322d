import type { Clock } from "../../../base/time.ts";
import { beforeAbort } from "../../../base/wait.ts";

/** How long an answer is used at least: a pull sends several requests. Milliseconds. */
const leastMs = 30_000;
/** Images name the keys, so that their number is limited. */
const maxAnswers = 1000;

/** What a program has answered. */
export interface Answer<T> {
  readonly value: T;
  /** How long it may be used. Milliseconds. */
  readonly lifeMs: number;
  /** The question that it answers, where that is a wider one than was asked. */
  readonly key?: string;
}

interface Entry<T> {
  readonly answer: Promise<Answer<T>>;
  readonly askedAtMs: number;
  /** Infinity while it is awaited. */
  endsAtMs: number;
}

/**
 * Answers of programs by what they were asked. Those who ask the same at one time share a run. Each answer, a
 * failure as well, is used for a while.
 */
export class Answers<T> {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry<T>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The answer to the first question, known from any of `keys`, or that of `ask`. The signal ends the
   * waiting, not the run.
   */
  async get(
    keys: readonly [string, ...string[]],
    signal: AbortSignal,
    ask: () => Promise<Answer<T>>,
  ): Promise<T> {
    const nowMs = this.#clock.nowMs();
    const known = keys
      .map((key) => this.#entries.get(key))
      .find((entry) => entry !== undefined && entry.endsAtMs > nowMs);
    const entry = known ?? this.#begin(keys[0], nowMs, ask);
    return (await beforeAbort(entry.answer, signal)).value;
  }

  /** Forgets the answers that `isRefused` is true for, unless they are new: a registry has refused them. */
  async forget(isRefused: (value: T) => boolean): Promise<void> {
    const newSinceMs = this.#clock.nowMs() - leastMs;
    for (const [key, entry] of [...this.#entries]) {
      if (entry.endsAtMs === Infinity || entry.askedAtMs > newSinceMs) continue;
      const answer = await entry.answer.catch(() => undefined);
      if (answer === undefined || !isRefused(answer.value)) continue;
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
    }
  }

  #begin(key: string, nowMs: number, ask: () => Promise<Answer<T>>): Entry<T> {
    const entry: Entry<T> = { answer: ask(), askedAtMs: nowMs, endsAtMs: Infinity };
    this.#set(key, entry);
    const ends = (lifeMs: number): void => {
      entry.endsAtMs = this.#clock.nowMs() + Math.max(lifeMs, leastMs);
    };
    entry.answer.then(
      (answer) => {
        ends(answer.lifeMs);
        if (answer.key === undefined || answer.key === key) return;
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
        this.#set(answer.key, entry);
      },
      () => ends(0),
    );
    return entry;
  }

  /** Adds an entry. The oldest one is removed when there are too many. */
  #set(key: string, entry: Entry<T>): void {
    this.#entries.delete(key);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size >= maxAnswers && oldest !== undefined) this.#entries.delete(oldest);
    this.#entries.set(key, entry);
  }
}
