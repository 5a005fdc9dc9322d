import type { Call } from "../../wire/grpc/call.ts";

/** A call that a client waits for, as the verbose Status shows it. Times in milliseconds. */
export interface CallView {
  readonly method: string;
  readonly ageMs: number;
  /** Until the client's deadline; absent when it has none. */
  readonly leftMs?: number;
}

interface Entry {
  readonly call: Call;
  /** Its index in the list; -1 once the call has ended. */
  at: number;
}

/**
 * The calls that clients now wait for, whether or not an operation has begun.
 *
 * NOTE(v8): this is an unordered array, because a Set keeps ended calls alive. A Set allocates a new
 * table after a few dozen additions. The old table refers to the calls of that moment and to the new
 * table; once one of them is in the old generation, every minor collection copies all that follow, until
 * the next major one. That was a tenth of the CPU time of PodSandboxStatus.
 */
export class Calls {
  readonly #running: Entry[] = [];
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Adds a call. Call the result when the call ends. */
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

  /** The number of calls. */
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
