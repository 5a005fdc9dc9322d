import { RuntimeError } from "../../base/errors.ts";
import type { RunningOperation } from "../../core/operation/index.ts";

/**
 * The creations, starts and updates under way, so that a stop can end one instead of waiting for it.
 */
export class CancellableOperations {
  readonly #byId = new Map<string, RunningOperation>();
  /** The creations, by container, with their sandboxes. */
  readonly #sandboxes = new Map<string, string>();
  readonly #forbidden = new Map<string, number>();

  /**
   * Until the result is disposed of, abort(id) aborts this operation. `failed-precondition` while
   * the container is being removed. A creation names its sandbox: it begins before its record.
   */
  add(id: string, operation: RunningOperation, sandboxId?: string): Disposable {
    if (this.#forbidden.has(id)) {
      throw new RuntimeError("failed-precondition", `container "${id}" is being removed`);
    }
    this.#byId.set(id, operation);
    if (sandboxId !== undefined) this.#sandboxes.set(id, sandboxId);
    return {
      [Symbol.dispose]: () => {
        this.#byId.delete(id);
        this.#sandboxes.delete(id);
      },
    };
  }

  /** The containers that are being made in a sandbox, on record or not yet. */
  idsOfSandbox(sandboxId: string): readonly string[] {
    return [...this.#sandboxes].filter(([, of]) => of === sandboxId).map(([id]) => id);
  }

  /** Lets none begin until the result is disposed of: what a removal takes apart must not start. */
  block(id: string): Disposable {
    this.#forbidden.set(id, (this.#forbidden.get(id) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        const left = (this.#forbidden.get(id) ?? 1) - 1;
        if (left > 0) this.#forbidden.set(id, left);
        else this.#forbidden.delete(id);
      },
    };
  }

  /** Tells a start of this container, if there is one, to give up. */
  abort(id: string, by: string): void {
    this.#byId.get(id)?.abort(new RuntimeError("aborted", `the container is being ${by}`));
  }
}
