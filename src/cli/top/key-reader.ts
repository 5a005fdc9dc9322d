import { type Key, KeyParser } from "./keys.ts";

/** After ESC the rest of a key's sequence follows at once, except on very slow lines. */
const escapeMs = 60;

/** How long the rest of a reply of the terminal is waited for. */
const replyMs = 500;

/** What is typed blindly after a key may be read in several chunks within this time. */
const togetherMs = 100;

/** Reads keys from chunks of the input of a terminal. */
export class KeyReader {
  readonly #onKey: (key: Key) => boolean;
  readonly #parser = new KeyParser();
  /** While it is set, keys are dropped. */
  #deaf: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** `onKey` returns whether the keys that come together with this one are dropped. */
  constructor(onKey: (key: Key) => boolean) {
    this.#onKey = onKey;
  }

  /**
   * Drops the keys of the next `ms` milliseconds. What this process has not read by then, for example because it did
   * not run, is dropped as well.
   */
  dropFor(ms: number): void {
    clearTimeout(this.#deaf);
    // The event loop reads input between a timer and the immediate that the timer sets. It would wait there for an
    // immediate without a reference.
    const timer = setTimeout(() => {
      setImmediate(() => {
        if (this.#deaf === timer) this.#deaf = undefined;
      });
    }, ms);
    this.#deaf = timer.unref();
  }

  /** Reports the keys that this chunk completes, and later an Escape key that nothing follows. */
  read(chunk: Uint8Array): void {
    clearTimeout(this.#timer);
    this.#report(this.#parser.take(chunk));
    if (!this.#parser.pending) return;
    this.#timer = setTimeout(
      () => this.#report(this.#parser.flush()),
      this.#parser.isInSequence ? replyMs : escapeMs,
    );
  }

  /** Forgets the part of a sequence that is held. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#parser.flush();
  }

  /** Keys that are dropped are parsed all the same: a reply may end after the time. */
  #report(keys: readonly Key[]): void {
    if (this.#deaf !== undefined) return;
    for (const key of keys) {
      if (!this.#onKey(key)) continue;
      this.dropFor(togetherMs);
      return;
    }
  }
}
