import type { Call } from "../wire/grpc/call.ts";

/** A call that a client waits for, as the verbose Status shows it. Times in milliseconds. */
export interface CallView {
  readonly method: string;
  readonly ageMs: number;
  /** Until the client gives up; absent when it waits for ever. */
  readonly leftMs?: number;
}

/** The calls that clients wait for now, whether or not they have come to an operation yet. */
export class Calls {
  readonly #running = new Set<Call>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Takes a call up; what it returns is to be called at the call's end. */
  begin(call: Call): () => void {
    this.#running.add(call);
    return () => this.#running.delete(call);
  }

  /** Oldest first. */
  views(): readonly CallView[] {
    const now = this.#nowMs();
    return [...this.#running].map(({ method, startedAt, deadline }) => ({
      method: method.slice(method.lastIndexOf("/") + 1),
      ageMs: Math.round(now - startedAt),
      ...(deadline === undefined ? {} : { leftMs: Math.round(deadline - now) }),
    }));
  }
}
