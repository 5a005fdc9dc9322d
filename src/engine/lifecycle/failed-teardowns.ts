import { messageOf } from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";

/** An end that was asked for and has not come about, as the verbose Status shows it. */
export interface FailedTeardown {
  /** Id of the sandbox or container. */
  readonly subject: string;
  readonly tries: number;
  readonly since: string;
  /** What the last try said: which process does not die, say, and where it hangs. */
  readonly lastError: string;
}

interface Failure {
  readonly tries: number;
  readonly firstMs: number;
  readonly lastError: string;
}

/**
 * What could not be stopped or removed, until it could: a person must find without a log why a pod
 * does not go away. Nothing is decided by it, and a restart forgets it, as the client tries again.
 */
export class FailedTeardowns {
  readonly #clock: Clock;
  readonly #bySubject = new Map<string, Failure>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Does `end`, and keeps its failure until one for the same subject works. */
  async track(subject: string, end: () => Promise<void>): Promise<void> {
    try {
      await end();
    } catch (error) {
      const before = this.#bySubject.get(subject);
      this.#bySubject.set(subject, {
        tries: (before?.tries ?? 0) + 1,
        firstMs: before?.firstMs ?? this.#clock.nowMs(),
        lastError: messageOf(error),
      });
      throw error;
    }
    this.ended(subject);
  }

  /** The subject has ended, whoever brought that about. */
  ended(subject: string): void {
    this.#bySubject.delete(subject);
  }

  /** What has not ended yet, the oldest first. */
  all(): readonly FailedTeardown[] {
    return [...this.#bySubject].map(([subject, { tries, firstMs, lastError }]) => ({
      subject,
      tries,
      since: new Date(firstMs).toISOString(),
      lastError,
    }));
  }
}
