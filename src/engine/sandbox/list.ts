import type { Sandbox } from "../../core/sandbox/index.ts";
import { matchesLabels } from "../lifecycle/labels.ts";
import type { SandboxContext } from "./context.ts";

/** What a list of sandboxes is restricted to; what is absent restricts nothing. */
export interface SandboxFilter {
  /** An id or the beginning of one; several sandboxes may match. */
  readonly id?: string;
  readonly ready?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The sandboxes that pass the filter, from memory. An unknown id gives an empty list. */
export function* listPodSandboxes(
  { store }: Pick<SandboxContext, "store">,
  { id = "", ready, labels = {} }: SandboxFilter,
): Iterable<Sandbox> {
  for (const sandbox of store.listed()) {
    if (!sandbox.id.startsWith(id)) continue;
    if (ready !== undefined && ready !== (sandbox.state.name === "ready")) continue;
    if (matchesLabels(sandbox.config.labels, labels)) yield sandbox;
  }
}
