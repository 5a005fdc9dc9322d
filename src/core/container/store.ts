import { ObjectStore, type RecordTable } from "../store/index.ts";
import type { Container } from "./container.ts";
import { checkContainerTransition } from "./state.ts";

/** All containers of this daemon. */
export class ContainerStore extends ObjectStore<Container> {
  /** The listed containers by sandbox and id, so that the status of a pod does not scan all containers. */
  readonly #bySandbox = new Map<string, Map<string, Container>>();

  constructor(records: Pick<RecordTable<Container>, "put" | "delete">) {
    super({
      noun: "container",
      records,
      checkChange: (before, after) => {
        checkContainerTransition(before.id, before.state.name, after.state.name);
      },
    });
    this.listen((container, change) => {
      if (change === "removed") this.#forget(container);
      else this.#remember(container);
    });
  }

  /** The listed containers of a sandbox, oldest first. */
  listedOf(sandboxId: string): Iterable<Container> {
    return this.#bySandbox.get(sandboxId)?.values() ?? [];
  }

  #remember(container: Container): void {
    const siblings = this.#bySandbox.get(container.sandboxId) ?? new Map<string, Container>();
    siblings.set(container.id, container);
    this.#bySandbox.set(container.sandboxId, siblings);
  }

  #forget({ id, sandboxId }: Container): void {
    const siblings = this.#bySandbox.get(sandboxId);
    siblings?.delete(id);
    if (siblings?.size === 0) this.#bySandbox.delete(sandboxId);
  }
}
