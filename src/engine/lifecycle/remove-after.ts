import type { Logger } from "../../base/logger.ts";
import type { Container, ContainerStore } from "../../core/container/index.ts";
import { removedAfter, type SandboxStore } from "../../core/sandbox/index.ts";
import type { Janitor } from "./janitor.ts";
import type { RemovePod } from "./leases.ts";
import { sandboxSubject } from "./subjects.ts";

/** How long a pod stays after the end of its container, so that clients that wait for the end can ask for its status. */
const delayMs = 1_000;

interface Deps {
  readonly sandboxes: Pick<SandboxStore, "peek">;
  readonly containers: Pick<ContainerStore, "all" | "listen">;
  readonly janitor: Pick<Janitor, "adopt">;
  readonly removePod: RemovePod;
  readonly log: Logger;
}

/**
 * Removes pods after the end of the container that their annotation names, which `davit run -d --rm` sets: no client
 * has to wait for it. A container that has ended while no daemon ran counts when the next one begins.
 */
export class RemoveAfter implements Disposable {
  readonly #deps: Deps;
  #listening: Disposable | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Begins; once, when sandboxes and containers are restored. */
  begin(): Promise<void> {
    const { containers } = this.#deps;
    this.#listening = containers.listen((container, change) => {
      if (change === "updated") this.#check(container);
    });
    for (const container of containers.all()) this.#check(container);
    return Promise.resolve();
  }

  [Symbol.dispose](): void {
    this.#listening?.[Symbol.dispose]();
  }

  #check({ state, sandboxId, config }: Container): void {
    if (state.name !== "exited") return;
    const { sandboxes, janitor, removePod, log } = this.#deps;
    const sandbox = sandboxes.peek(sandboxId);
    const name = sandbox === undefined ? undefined : removedAfter(sandbox.config);
    if (sandbox === undefined || name === undefined || name !== config.metadata?.name) return;
    const remove = async (): Promise<void> => {
      // Another client has created its next attempt meanwhile.
      if (!this.#hasEnded(sandboxId, name)) return;
      log.info("removing a pod because its container ended", {
        ...sandboxSubject(sandbox),
        containerName: name,
      });
      await removePod(sandboxId, { graceMs: 0, why: "its container ended" });
    };
    // A lease of the pod has an entry of its own.
    janitor.adopt(`remove-after ${sandboxId}`, remove, delayMs);
  }

  #hasEnded(sandboxId: string, name: string): boolean {
    // Also one that is being created, which is not listed yet.
    return [...this.#deps.containers.all()].every(
      ({ sandboxId: pod, state, config }) =>
        pod !== sandboxId || config.metadata?.name !== name || state.name === "exited",
    );
  }
}
