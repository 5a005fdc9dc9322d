import { RuntimeError } from "../../base/errors.ts";

/**
 * The state of a sandbox.
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
 * - dead: it lost its holder, its network namespace or its shim, or the host rebooted, or its create
 *   failed and could not be undone. It still has resources to release, above all its address.
 * - stopped: its processes are gone, and its network is removed or queued for removal.
 *
 * There is no state for a removed sandbox: its record is deleted.
 */
export type SandboxState =
  | { readonly name: "creating" }
  | { readonly name: "ready" }
  | { readonly name: "dead"; readonly reason: string; readonly atNs: bigint }
  | { readonly name: "stopped"; readonly atNs: bigint };

/** The names of the states. */
export type SandboxStateName = SandboxState["name"];

/** The allowed transitions. Staying in a state is always allowed. */
const sandboxTransitions = {
  creating: ["ready", "dead"],
  ready: ["dead", "stopped"],
  dead: ["stopped"],
  stopped: [],
} as const satisfies Record<SandboxStateName, readonly SandboxStateName[]>;

/** Throws `failed-precondition` for a transition that is not allowed. */
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
