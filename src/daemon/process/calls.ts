import type { Call } from "../../wire/grpc/call.ts";

/** A call that a client waits for, as the verbose Status shows it. Times in milliseconds. */
export interface CallView {
  readonly method: string;
  readonly ageMs: number;
  /** Until the client gives up; absent when it waits forever. */
  readonly leftMs?: number;
}

interface Entry {
  readonly call: Call;
  /** Where it is in the list; -1 once the call has ended. */
  at: number;
}

/**
 * The calls that clients wait for now, whether or not they have come to an operation yet.
 *
 * NOTE(v8): in no particular order in an array, as a Set would keep calls alive that are over. It makes
 * itself a new table after a few dozen additions; the old one still names the calls of that moment and
 * refers to the new one, and once one of them has grown old, all that follow are copied by every minor
 * collection until the next major one. That was a tenth of a status's CPU time.
 */
export class Calls {
  readonly #running: Entry[] = [];
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Takes a call up; what it returns is to be called at the call's end. */
  begin(call: Call): () => void {
    const entry: Entry = { call, at: this.#running.length };
    this.#running.push(entry);
    return () => {
      this.#end(entry);
    };
  }

  #end(entry: Entry): void {
    if (entry.at < 0) return;
    const last = this.#running.pop();
    if (last !== undefined && last !== entry) {
      last.at = entry.at;
      this.#running[entry.at] = last;
    }
    entry.at = -1;
  }

  /** How many there are now. */
  get size(): number {
    return this.#running.length;
  }

  /** Oldest first. */
  views(): readonly CallView[] {
    const now = this.#nowMs();
    const calls = this.#running.map(({ call }) => call).toSorted((a, b) => a.id - b.id);
    return calls.map(({ method, startedAt, deadline }) => ({
      method: method.slice(method.lastIndexOf("/") + 1),
      ageMs: Math.round(now - startedAt),
      ...(deadline === undefined ? {} : { leftMs: Math.round(deadline - now) }),
    }));
  }
}
