import { RuntimeError } from "../../base/errors.ts";

/**
 * Where a sandbox is in its life.
 *
 * ```
 *   creating --> ready --> stopped
 *      |           |          ^
 *      |           v          |
 *      +-------> dead --------+
 * ```
 *
 * - creating: being built; no client knows its id.
 * - ready: it can run containers.
 * - dead: what made it a sandbox is gone (its holder, its network namespace, its shim, the boot
 *   that it lived in), or its creation failed and could not be undone; it still has things to
 *   give back, above all its address.
 * - stopped: its processes are gone and its network is given back, or queued for that.
 *
 * Removal is the end of the record, not a state.
 */
export type SandboxState =
  | { readonly name: "creating" }
  | { readonly name: "ready" }
  | { readonly name: "dead"; readonly reason: string; readonly atNs: bigint }
  | { readonly name: "stopped"; readonly atNs: bigint };

/** The names of the states. */
export type SandboxStateName = SandboxState["name"];

/** The moves there are. Staying in a state is always allowed. */
export const sandboxTransitions = {
  creating: ["ready", "dead"],
  ready: ["dead", "stopped"],
  dead: ["stopped"],
  stopped: [],
} as const satisfies Record<SandboxStateName, readonly SandboxStateName[]>;

/** Throws `failed-precondition` for a move that is not in the table. */
export function checkSandboxTransition(
  id: string,
  from: SandboxStateName,
  to: SandboxStateName,
): void {
  const allowed: readonly SandboxStateName[] = sandboxTransitions[from];
  if (from === to || allowed.includes(to)) return;
  throw new RuntimeError(
    "failed-precondition",
    `change sandbox "${id}": it is ${from} and cannot become ${to}`,
  );
}
