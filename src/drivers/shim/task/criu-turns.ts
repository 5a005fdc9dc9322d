import { RuntimeError } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";

/** Who uses CRIU under the shim of a pod: one container at a time, since its configuration is a file of the shim. */
export class CriuTurns {
  readonly #locks = new KeyedLock();
  /** Pods whose shim has not answered a capture yet that was given up. */
  readonly #unanswered = new Set<string>();

  /**
   * Waits for the turn of a container in its pod, which ends when the result is disposed of. `failed-precondition` while
   * the shim may still begin a capture that was given up.
   */
  async take(sandboxId: string, doing: string, signal: AbortSignal): Promise<Disposable> {
    const turn = await this.#locks.acquire(sandboxId, signal);
    if (!this.#unanswered.has(sandboxId)) return turn;
    turn[Symbol.dispose]();
    const text = `${doing}: the shim of its pod has not answered the last capture yet; try again later, or stop the pod, which ends the shim`;
    throw new RuntimeError("failed-precondition", text);
  }

  /** Refuses turns in the pod until `work` is done, which never rejects. */
  async refuseDuring(sandboxId: string, work: Promise<void>): Promise<void> {
    this.#unanswered.add(sandboxId);
    await work;
    this.#unanswered.delete(sandboxId);
  }
}
