import { RuntimeError } from "../../base/errors.ts";
import type { RunningOperation } from "../../core/operation/index.ts";

/**
 * The creates, starts and updates of containers in progress. A stop aborts one instead of waiting for it.
 */
export class CancellableOperations {
  readonly #byId = new Map<string, RunningOperation>();
  /** The sandboxes of the containers that are being created, by container id. */
  readonly #sandboxes = new Map<string, string>();
  readonly #blocked = new Map<string, number>();

  /**
   * Registers an operation for abort(id) until the result is disposed of. `failed-precondition` while
   * the container is being removed. A create passes its sandbox, because it has no record yet.
   */
  add(id: string, operation: RunningOperation, sandboxId?: string): Disposable {
    if (this.#blocked.has(id)) {
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

  /** The containers that are being created in a sandbox, recorded or not. */
  idsOfSandbox(sandboxId: string): readonly string[] {
    return [...this.#sandboxes].filter(([, of]) => of === sandboxId).map(([id]) => id);
  }

  /** Makes add() fail until the result is disposed of. A container that is being removed must not start. */
  block(id: string): Disposable {
    this.#blocked.set(id, (this.#blocked.get(id) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        const left = (this.#blocked.get(id) ?? 1) - 1;
        if (left > 0) this.#blocked.set(id, left);
        else this.#blocked.delete(id);
      },
    };
  }

  /** Aborts the operation on this container, if there is one. */
  abort(id: string, by: string): void {
    this.#byId.get(id)?.abort(new RuntimeError("aborted", `the container is being ${by}`));
  }
}
