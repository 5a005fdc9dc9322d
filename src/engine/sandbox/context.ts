import type { BoundHandler, Handlers } from "../../core/handler/index.ts";
import type { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type { PodNetwork } from "../../core/network/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type {
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

/** How long things may take. Milliseconds. */
export interface SandboxTimes {
  /** A create's own clock, whatever its caller's is. */
  readonly createMs: number;
  /** How long a finished create is held for the retry of a caller that went away. */
  readonly holdMs: number;
  /** A stop's or a removal's own clock. */
  readonly stopMs: number;
  /** How long a controller may take to say how a sandbox is, before its last known state is told. */
  readonly statusMs: number;
}

/** The times that the design settles on. */
export const defaultTimes: SandboxTimes = {
  createMs: 120_000,
  holdMs: 120_000,
  stopMs: 110_000,
  statusMs: 2_000,
};

/** The containers of a sandbox, as far as its own verbs concern them. */
export interface SandboxContainers {
  /** Those that lists show. */
  listedOf(sandboxId: string): Iterable<Container>;
  /** Ends all of them, without grace. */
  stopAll(sandboxId: string): Promise<void>;
  /** Removes all of them, also those in the making. */
  removeAll(sandboxId: string): Promise<void>;
}

/** What the verbs of a sandbox work with. Made once, in the composition root. */
export interface SandboxContext {
  readonly store: SandboxStore;
  /** The controllers by the name that handlers refer to them by. */
  readonly controllers: ReadonlyMap<string, SandboxController>;
  readonly handlers: Handlers;
  /** The network that pods of a handler get. */
  readonly networkOf: (handler: BoundHandler) => PodNetwork;
  readonly attachments: Attachments;
  readonly teardown: NetworkTeardown;
  readonly containers: SandboxContainers;
  readonly cgroups: PodCgroups;
  /** Where containers get SELinux labels. */
  readonly labels?: PodLabeller | undefined;
  readonly namespaces: NamespaceStates;
  readonly operations: Operations;
  readonly creations: InflightCreates;
  readonly janitor: Janitor;
  readonly failedEnds: FailedTeardowns;
  readonly locks: KeyedLock;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  readonly bootId: string;
  readonly times: SandboxTimes;
}

/** The controller that keeps the sandbox; undefined when this daemon has none of that name. */
export function controllerOf(
  context: SandboxContext,
  sandbox: Sandbox,
): SandboxController | undefined {
  return context.controllers.get(sandbox.handler.controller);
}

/** The pod cgroups of all sandboxes but `id`. */
export function otherCgroups(context: SandboxContext, id: string): readonly PodCgroup[] {
  const cgroups: PodCgroup[] = [];
  for (const sandbox of context.store.all()) {
    if (sandbox.id !== id && sandbox.cgroup !== undefined) cgroups.push(sandbox.cgroup);
  }
  return cgroups;
}
