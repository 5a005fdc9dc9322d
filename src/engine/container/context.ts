import type { BoundHandler } from "../../core/handler/index.ts";
import { wrap } from "../../base/errors.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type {
  Container,
  ContainerRuntime,
  ContainerSpecs,
  ContainerStore,
  RootFiles,
  SpecSubject,
} from "../../core/container/index.ts";
import type { ImageStore } from "../../core/image/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type { Sandbox, SandboxEnvironment, SandboxStore } from "../../core/sandbox/index.ts";
import type { Roots } from "../../core/snapshot/index.ts";
import type { InflightCreates } from "../lifecycle/inflight-creates.ts";
import type { FailedTeardowns } from "../lifecycle/failed-teardowns.ts";
import type { Janitor } from "../lifecycle/janitor.ts";
import type { CancellableOperations } from "../lifecycle/cancellable-operations.ts";

/** How long things may take. Milliseconds. */
export interface ContainerTimes {
  /** A create's own clock, whatever its caller's is. */
  readonly createMs: number;
  readonly startMs: number;
  /** A removal's own clock, and that of the end of a stop once its grace period is over. */
  readonly endMs: number;
}

/** The times that the design settles on. */
export const defaultContainerTimes: ContainerTimes = {
  createMs: 120_000,
  startMs: 120_000,
  endMs: 30_000,
};

/** What the verbs of a container work with. Made once, in the composition root. */
export interface ContainerContext {
  readonly store: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly images: ImageStore;
  readonly roots: Roots;
  readonly rootFiles: RootFiles;
  readonly specs: ContainerSpecs;
  /** The volumes that images declare are not made. */
  readonly ignoreVolumes: boolean;
  /** All runtimes that containers run in. */
  readonly runtimes: readonly ContainerRuntime[];
  /** The one that containers of a handler run in. */
  readonly runtimeOf: (handler: BoundHandler) => ContainerRuntime;
  /**
   * Begins the kernel's wait before a process is moved into a cgroup. Call it first in a verb that
   * starts a process; it changes nothing and never fails.
   */
  readonly prewarmCgroupMigration: () => void;
  /** What the containers of a sandbox share. */
  readonly environmentOf: (sandbox: Sandbox) => SandboxEnvironment;
  readonly operations: Operations;
  readonly creations: InflightCreates;
  readonly janitor: Janitor;
  readonly failedEnds: FailedTeardowns;
  readonly starting: CancellableOperations;
  /** Called when a container is gone: its layers may be nobody's now. */
  readonly onRemoved: (container: Container) => void;
  readonly locks: KeyedLock;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  readonly bootId: string;
  readonly times: ContainerTimes;
}

/** The runtime that a container of this daemon runs in. Its sandbox outlives it on record. */
export function runtimeOf(context: ContainerContext, container: Container): ContainerRuntime {
  const sandbox = context.sandboxes.peek(container.sandboxId);
  // A sandbox's record may be lost: its containers must still be removable.
  const runtime = sandbox === undefined ? context.runtimes[0] : context.runtimeOf(sandbox.handler);
  if (runtime !== undefined) return runtime;
  throw new RuntimeError("not-found", `find runtime of container "${container.id}": there is none`);
}

/** `failed-precondition` for a container that does not run; `doing` says what for ("exec in"). */
export function runningContainer(
  context: ContainerContext,
  idOrPrefix: string,
  doing: string,
): Container {
  const container = context.store.resolve(idOrPrefix);
  if (container.state.name === "running") return container;
  throw new RuntimeError(
    "failed-precondition",
    `${doing} container "${container.id}": it is ${container.state.name}, not running`,
  );
}

/** `invalid-argument` for a command that nothing can be made of. */
export function checkCommand(containerId: string, command: readonly string[]): void {
  if (command.length > 0) return;
  const text = `exec in container "${containerId}": the command is empty`;
  throw new RuntimeError("invalid-argument", text);
}

/** What the spec of a container is made of now. */
export function specSubject(context: ContainerContext, container: Container): SpecSubject {
  const sandbox = context.sandboxes.get(container.sandboxId);
  const target = container.config.linux?.securityContext?.namespaceOptions?.targetId ?? "";
  const targetState = target === "" ? undefined : findTarget(context, target).state;
  return {
    container,
    sandbox,
    environment: context.environmentOf(sandbox),
    rootfs: context.roots.pathOf(container.id),
    imageVolumes: container.imageVolumes.map((_image, index) =>
      context.roots.imageVolumeOf(container.id, index),
    ),
    volumes: container.volumes.map((_path, index) => context.roots.volumeOf(container.id, index)),
    targetPid: targetState?.name === "running" ? targetState.process.pid : undefined,
  };
}

/** The same for a command in a running container. */
export function execSubject(context: ContainerContext, container: Container): SpecSubject {
  const startedSpec = () => runtimeOf(context, container).spec(container.id);
  return { ...specSubject(context, container), startedSpec };
}

/** The container that a request's `target_id` names; `not-found` without one. */
export function findTarget(context: ContainerContext, target: string): Container {
  try {
    return context.store.resolve(target);
  } catch (error) {
    throw wrap("find the container whose processes are to be seen (target_id)", error);
  }
}
