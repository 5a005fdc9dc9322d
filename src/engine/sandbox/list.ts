import type { Sandbox } from "../../core/sandbox/index.ts";
import { labelMatcher } from "../lifecycle/labels.ts";
import type { SandboxContext } from "./context.ts";

/** Selects sandboxes. A field that is absent matches every sandbox. */
export interface SandboxFilter {
  /** A sandbox id or a prefix of one; several sandboxes may match. */
  readonly id?: string;
  readonly ready?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The sandboxes that match the filter, from memory. An unknown id gives an empty list. */
export function listPodSandboxes(
  { store }: Pick<SandboxContext, "store">,
  { id, ready, labels }: SandboxFilter,
): readonly Sandbox[] {
  const hasLabels = labelMatcher(labels);
  const found: Sandbox[] = [];
  for (const sandbox of store.listed()) {
    if (id !== undefined && !sandbox.id.startsWith(id)) continue;
    if (ready !== undefined && ready !== (sandbox.state.name === "ready")) continue;
    if (hasLabels === undefined || hasLabels(sandbox.config.labels)) found.push(sandbox);
  }
  return found;
}
