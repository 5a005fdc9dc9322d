import { RuntimeError } from "../../base/errors.ts";
import type { RunningOperation } from "../../core/operation/index.ts";

/** The starts under way, so that a stop can end one instead of waiting for it. */
export class Starting {
  readonly #byId = new Map<string, RunningOperation>();

  /** Until the result is disposed of, abort(id) aborts this operation. */
  add(id: string, operation: RunningOperation): Disposable {
    this.#byId.set(id, operation);
    return { [Symbol.dispose]: () => this.#byId.delete(id) };
  }

  /** Tells a start of this container, if there is one, to give up. */
  abort(id: string, by: string): void {
    this.#byId.get(id)?.abort(new RuntimeError("aborted", `the container is being ${by}`));
  }
}
