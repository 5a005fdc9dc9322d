import type { Container, ContainerStateName } from "../../core/container/index.ts";
import { matchesLabels } from "../lifecycle/labels.ts";
import type { ContainerContext } from "./context.ts";

/** What a list of containers is restricted to; what is absent restricts nothing. */
export interface ContainerFilter {
  /** An id or the beginning of one; several containers may match. */
  readonly id?: string;
  /** The id of the sandbox or the beginning of one. */
  readonly sandboxId?: string;
  readonly states?: readonly ContainerStateName[];
  readonly labels?: Readonly<Record<string, string>>;
}

/** The containers that pass the filter, from memory. An unknown id gives an empty list. */
export function* listContainers(
  { store }: Pick<ContainerContext, "store">,
  { id = "", sandboxId = "", states, labels = {} }: ContainerFilter,
): Iterable<Container> {
  for (const container of store.listed()) {
    if (!container.id.startsWith(id) || !container.sandboxId.startsWith(sandboxId)) continue;
    if (states?.includes(container.state.name) === false) continue;
    if (matchesLabels(container.config.labels, labels)) yield container;
  }
}
