import type { Container, ContainerStateName } from "../../core/container/index.ts";
import { labelMatcher } from "../lifecycle/labels.ts";
import type { ContainerContext } from "./context.ts";

/** Selects containers. A field that is absent matches every container. */
export interface ContainerFilter {
  /** A container id or a prefix of one; several containers may match. */
  readonly id?: string;
  /** A sandbox id or a prefix of one. */
  readonly sandboxId?: string;
  readonly states?: readonly ContainerStateName[];
  readonly labels?: Readonly<Record<string, string>>;
}

/** The containers that match the filter, from memory. An unknown id gives an empty list. */
export function listContainers(
  { store }: Pick<ContainerContext, "store">,
  { id, sandboxId, states, labels }: ContainerFilter,
): readonly Container[] {
  const hasLabels = labelMatcher(labels);
  const found: Container[] = [];
  for (const container of store.listed()) {
    if (id !== undefined && !container.id.startsWith(id)) continue;
    if (sandboxId !== undefined && !container.sandboxId.startsWith(sandboxId)) continue;
    if (states?.includes(container.state.name) === false) continue;
    if (hasLabels === undefined || hasLabels(container.config.labels)) found.push(container);
  }
  return found;
}
