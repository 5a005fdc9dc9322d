import type { BoundHandler, Handlers } from "../../core/handler/index.ts";
import type { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type { EgressLimits, PodNetwork } from "../../core/network/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type {
  IdPool,
  NamespaceStates,
  PodCgroup,
  PodCgroups,
  PodLabeller,
  Sandbox,
  SandboxController,
  SandboxStore,
} from "../../core/sandbox/index.ts";
import type { Attachments } from "../network/attachments.ts";
import type { NetworkTeardown } from "../network/teardown.ts";
import type { InflightCreates } from "../lifecycle/inflight-creates.ts";
import type { FailedTeardowns } from "../lifecycle/failed-teardowns.ts";
import type { Janitor } from "../lifecycle/janitor.ts";
import type { Leases } from "../lifecycle/leases.ts";
import type { EnginePlugins } from "../plugins/index.ts";

/** Time limits of the sandbox verbs, in milliseconds. */
export interface SandboxTimes {
  /** The deadline of a create. It does not depend on the caller's. */
  readonly createMs: number;
  /** How long a finished sandbox is held for the retry of a caller that disconnected. */
  readonly holdMs: number;
  /** The deadline of a stop or a removal. */
  readonly stopMs: number;
  /** How long a status waits for the controller before it reports the last known state. */
  readonly statusMs: number;
}

/** The default time limits. */
export const defaultTimes: SandboxTimes = {
  createMs: 120_000,
  holdMs: 120_000,
  stopMs: 110_000,
  statusMs: 2_000,
};

/** What the sandbox verbs do with the containers of a sandbox. */
export interface SandboxContainers {
  /** The listed containers. */
  listedOf(sandboxId: string): Iterable<Container>;
  /** Stops all containers: kills them at once, or after a grace period. */
  stopAll(sandboxId: string, graceMs?: number): Promise<void>;
  /** Removes all containers, including those that are being created. */
  removeAll(sandboxId: string): Promise<void>;
}

/** How pods get ids of their own that did not ask for a user namespace (`runtime.user_namespaces`). */
export interface OwnIdsPolicy {
  readonly pool: IdPool;
  /** Whether pods of a handler get ids of their own. */
  readonly isFor: (handler: BoundHandler) => boolean;
  /** Why no pod of this node can have them now; undefined when pods can. */
  readonly obstacle: () => string | undefined;
}

/** The dependencies of the sandbox verbs. The composition root creates it once. */
export interface SandboxContext {
  readonly store: SandboxStore;
  /** The controllers by name, as handlers refer to them. */
  readonly controllers: ReadonlyMap<string, SandboxController>;
  readonly handlers: Handlers;
  /** The network of a handler's pods. */
  readonly networkOf: (handler: BoundHandler) => PodNetwork;
  /** Limits the egress of pods that ask for it. */
  readonly egress: EgressLimits;
  readonly attachments: Attachments;
  readonly teardown: NetworkTeardown;
  readonly containers: SandboxContainers;
  readonly cgroups: PodCgroups;
  /** Undefined when containers do not get SELinux labels. */
  readonly labels?: PodLabeller | undefined;
  /** Undefined when only pods that ask for a user namespace get one. */
  readonly ownIds?: OwnIdsPolicy | undefined;
  /** Undefined where NRI is off. */
  readonly plugins?: EnginePlugins | undefined;
  readonly namespaces: NamespaceStates;
  readonly operations: Operations;
  readonly inflightCreates: InflightCreates;
  readonly janitor: Janitor;
  readonly failedTeardowns: FailedTeardowns;
  /** The leases that pods with their label need. */
  readonly leases: Pick<Leases, "neededBy">;
  readonly locks: KeyedLock;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  readonly bootId: string;
  readonly times: SandboxTimes;
  /** The time that a handler's pods may take to be created; undefined for that of `times`. */
  readonly createMsOf?: (handler: BoundHandler) => number | undefined;
}

/** The controller of the sandbox; undefined when this daemon has none of that name. */
export function controllerOf(
  context: Pick<SandboxContext, "controllers">,
  sandbox: Sandbox,
): SandboxController | undefined {
  return context.controllers.get(sandbox.handler.controller);
}

/** The pod cgroups of all sandboxes except `id`. */
export function otherCgroups(
  context: Pick<SandboxContext, "store">,
  id: string,
): readonly PodCgroup[] {
  const cgroups: PodCgroup[] = [];
  for (const sandbox of context.store.all()) {
    if (sandbox.id !== id && sandbox.cgroup !== undefined) cgroups.push(sandbox.cgroup);
  }
  return cgroups;
}
