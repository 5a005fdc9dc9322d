import { messageOf } from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";

/** A requested stop or removal that has failed so far, as the verbose Status shows it. */
export interface FailedTeardown {
  /** Id of the sandbox or container. */
  readonly subject: string;
  readonly tries: number;
  readonly since: string;
  /** The error of the last try, for example which process does not exit and where it hangs. */
  readonly lastError: string;
}

interface Failure {
  readonly tries: number;
  readonly firstMs: number;
  readonly lastError: string;
}

/**
 * The stops and removals that failed and have not succeeded since. It shows why a pod does not go
 * away, without a search in the log. No decision depends on it. It is lost at a restart, after which
 * the client retries.
 */
export class FailedTeardowns {
  readonly #clock: Clock;
  readonly #bySubject = new Map<string, Failure>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs `end` and keeps its failure until a later one for the same subject succeeds. */
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

  /** Forgets the failure of a subject that has ended. */
  ended(subject: string): void {
    this.#bySubject.delete(subject);
  }

  /** The failures that still stand, oldest first. */
  all(): readonly FailedTeardown[] {
    return [...this.#bySubject].map(([subject, { tries, firstMs, lastError }]) => ({
      subject,
      tries,
      since: new Date(firstMs).toISOString(),
      lastError,
    }));
  }
}
