import { RuntimeError } from "../../base/errors.ts";
import type { ProcessIdentity } from "../sandbox/index.ts";
import type { ContainerUsage } from "./usage.ts";

/**
 * The state of a container in its life cycle.
 *
 * ```
 *   creating --> created --> running --> exited
 *                   |                       ^
 *                   +-----------------------+   (start failed)
 * ```
 *
 * - creating: being built, unlisted.
 * - created: root mounted and record written; no process, no cgroup.
 * - running: its process runs, or was last seen running.
 * - exited: its process has ended, or it could not be started.
 */
export type ContainerState =
  | { readonly name: "creating" }
  | { readonly name: "created" }
  | {
      readonly name: "running";
      readonly startedAtNs: bigint;
      readonly process: ProcessIdentity;
      /** The monitor that outlives the daemon and records the exit. */
      readonly monitor: ProcessIdentity | undefined;
      /** Set while it is paused: since when, in nanoseconds since 1970. A new daemon pauses it again. */
      readonly pausedAtNs?: bigint;
    }
  | {
      readonly name: "exited";
      /** 0 when it never ran. */
      readonly startedAtNs: bigint;
      readonly finishedAtNs: bigint;
      readonly exitCode: number;
      /** Completed, Error, OOMKilled, StartError, Checkpointed, "seccomp killed", Unknown: kubelet shows it. */
      readonly reason: string;
      readonly message: string;
      /** What it used until then. Undefined if that is not known. */
      readonly usage?: ContainerUsage | undefined;
    };

/** The names of the states. */
export type ContainerStateName = ContainerState["name"];

/** The transitions. Staying in a state is always allowed. */
const containerTransitions = {
  creating: ["created"],
  created: ["running", "exited"],
  running: ["exited"],
  exited: [],
} as const satisfies Record<ContainerStateName, readonly ContainerStateName[]>;

/** Throws `failed-precondition` for a transition that is not in the table. */
export function checkContainerTransition(
  id: string,
  from: ContainerStateName,
  to: ContainerStateName,
): void {
  const allowed: readonly ContainerStateName[] = containerTransitions[from];
  if (from === to || allowed.includes(to)) return;
  throw new RuntimeError(
    "failed-precondition",
    `change container "${id}": it is ${from} and cannot become ${to}`,
  );
}
