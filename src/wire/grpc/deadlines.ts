import { performance } from "node:perf_hooks";
import { maxTimerMs } from "../../base/time.ts";

/** A call that has a deadline. */
export interface TimedCall {
  /** When it expires, on the clock of `performance.now()`. */
  expiresAtMs: number;
  /** Its index in the list of deadlines; -1 when it is not in it. */
  deadlineIndex: number;
  expire(): void;
}

/**
 * The deadlines of all calls, with one timer. Nearly all calls end before their deadline, so a timer for each would be
 * made for nothing. The timer is that of the earliest deadline, and stays when that call ends.
 */
export class Deadlines {
  readonly #calls: TimedCall[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  /** Calls `expire()` when the call is not removed before `expiresAtMs`. */
  add(call: TimedCall): void {
    call.deadlineIndex = this.#calls.length;
    this.#calls.push(call);
    if (call.expiresAtMs < this.#timerAtMs) this.#setTimer(call.expiresAtMs);
  }

  /** Does nothing for a call that was not added, or has expired. */
  remove(call: TimedCall): void {
    const at = call.deadlineIndex;
    if (at < 0) return;
    const last = this.#calls.pop();
    if (last !== undefined && last !== call) {
      last.deadlineIndex = at;
      this.#calls[at] = last;
    }
    call.deadlineIndex = -1;
  }

  #setTimer(atMs: number): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    const delayMs = Math.min(maxTimerMs, Math.max(0, Math.ceil(atMs - performance.now())));
    this.#timer = setTimeout(this.#expire, delayMs);
    // The connection of the call keeps the process running.
    this.#timer.unref();
  }

  readonly #expire = (): void => {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const now = performance.now();
    const due = this.#calls.filter(({ expiresAtMs }) => expiresAtMs <= now);
    due.sort((a, b) => a.expiresAtMs - b.expiresAtMs);
    for (const call of due) {
      // One that has expired may have ended others.
      if (call.deadlineIndex < 0) continue;
      this.remove(call);
      call.expire();
    }
    let next = Number.POSITIVE_INFINITY;
    for (const { expiresAtMs } of this.#calls) next = Math.min(next, expiresAtMs);
    if (next < this.#timerAtMs) this.#setTimer(next);
  };
}
