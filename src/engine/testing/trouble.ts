import { RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";

/** A call that hangs. */
export interface Hang {
  /** Resolves when a call has begun to wait. */
  readonly arrived: Promise<void>;
  /** Makes the waiting calls and all later ones continue. */
  release(): void;
}

type Fault =
  | { readonly kind: "fail"; readonly error: Error; left: number }
  | { readonly kind: "hang"; readonly deaf: boolean; readonly gate: Promise<void>; arrive(): void };

/** The faults of a fake: which of its calls fail, and which hang. */
export class Trouble<Call extends string> {
  readonly #faults = new Map<Call, Fault>();
  readonly #releases = new Set<() => void>();

  /** Makes a call fail, the next `times` times or until heal(). */
  fail(
    call: Call,
    error: Error = new RuntimeError("internal", `${call} broke`),
    times = Infinity,
  ): void {
    this.#faults.set(call, { kind: "fail", error, left: times });
  }

  /** Makes a call hang until it is released or its signal is aborted. A deaf one ignores the signal. */
  hang(call: Call, { deaf = false }: { readonly deaf?: boolean } = {}): Hang {
    const gate = Promise.withResolvers<undefined>();
    const arrived = Promise.withResolvers<undefined>();
    const release = (): void => {
      this.#faults.delete(call);
      gate.resolve(undefined);
    };
    const arrive = (): void => {
      arrived.resolve(undefined);
    };
    this.#faults.set(call, { kind: "hang", deaf, gate: gate.promise, arrive });
    this.#releases.add(release);
    return { arrived: arrived.promise, release };
  }

  /** Makes a call work again. */
  heal(call: Call): void {
    this.#faults.delete(call);
  }

  /** Releases all calls that hang, at the end of a test. */
  releaseAll(): void {
    for (const release of this.#releases) release();
  }

  /** A fake calls this at the beginning of `call`; undefined without a fault. */
  at(call: Call, signal?: AbortSignal): Promise<void> | undefined {
    const fault = this.#faults.get(call);
    if (fault === undefined) return undefined;
    if (fault.kind === "fail") {
      fault.left--;
      if (fault.left <= 0) this.#faults.delete(call);
      return Promise.reject(fault.error);
    }
    fault.arrive();
    return signal === undefined || fault.deaf ? fault.gate : beforeAbort(fault.gate, signal);
  }
}
