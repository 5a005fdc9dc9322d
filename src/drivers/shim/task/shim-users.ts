import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { PodShims } from "../process/pod-shims.ts";

/** Which containers need their pod's shim. The shim ends with the last of them, unless it made the pod's sandbox. */
export class ShimUsers {
  readonly #shims: PodShims;
  readonly #log: Logger;
  /** Ids of containers by sandbox. */
  readonly #containers = new Map<string, Set<string>>();

  constructor(shims: PodShims, log: Logger) {
    this.#shims = shims;
    this.#log = log;
  }

  add(sandboxId: string, containerId: string): void {
    const containers = this.#containers.get(sandboxId) ?? new Set();
    this.#containers.set(sandboxId, containers.add(containerId));
  }

  /** Ends the shim with its last container. Never rejects. */
  async remove(sandboxId: string, containerId: string): Promise<void> {
    const containers = this.#containers.get(sandboxId);
    containers?.delete(containerId);
    if (containers?.size === 0) this.#containers.delete(sandboxId);
    await this.endIfIdle(sandboxId);
  }

  /** Ends the pod's shim unless a container needs it. Never rejects. */
  async endIfIdle(sandboxId: string): Promise<void> {
    if (sandboxId === "" || this.#containers.has(sandboxId)) return;
    try {
      await this.#shims.shutdown(sandboxId, () => this.#containers.has(sandboxId));
    } catch (error) {
      this.#log.warn(`failed to end shim of sandbox "${sandboxId}": ${messageOf(error)}`, {
        error,
      });
    }
  }
}
