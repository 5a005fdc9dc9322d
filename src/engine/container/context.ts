import type { BoundHandler } from "../../core/handler/index.ts";
import { wrap } from "../../base/errors.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Digest } from "../../base/digest.ts";
import type { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type {
  Container,
  ContainerLogs,
  ContainerRuntime,
  ContainerSpecs,
  ContainerStore,
  RootFiles,
  SpecSubject,
  UsageReader,
} from "../../core/container/index.ts";
import type {
  CheckpointOutputs,
  Checkpoints,
  CheckpointTrust,
} from "../../core/checkpoint/index.ts";
import type { ImageStore } from "../../core/image/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type { Sandbox, SandboxEnvironment, SandboxStore } from "../../core/sandbox/index.ts";
import type { Roots } from "../../core/snapshot/index.ts";
import type { ImageVerification } from "../image/verification.ts";
import type { InflightCreates } from "../lifecycle/inflight-creates.ts";
import type { FailedTeardowns } from "../lifecycle/failed-teardowns.ts";
import type { Janitor } from "../lifecycle/janitor.ts";
import type { CancellableOperations } from "../lifecycle/cancellable-operations.ts";
import type { EnginePlugins } from "../plugins/index.ts";
import type { DeniedCalls } from "./denied-calls.ts";
import type { OomKills } from "./oom-kills.ts";

/** Time limits of the container verbs, in milliseconds. */
export interface ContainerTimes {
  /** The deadline of a create. It does not depend on the caller's. */
  readonly createMs: number;
  readonly startMs: number;
  /** The deadline of a removal, and of what a stop does after its grace period. */
  readonly endMs: number;
}

/** The default time limits. */
export const defaultContainerTimes: ContainerTimes = {
  createMs: 120_000,
  startMs: 120_000,
  endMs: 30_000,
};

/** How containers are captured and restored. */
export interface CheckpointAccess {
  /** The files of checkpoints. Their code is loaded with the first call. */
  readonly open: () => Promise<{
    readonly files: Checkpoints;
    readonly outputs: CheckpointOutputs;
  }>;
  /** Which checkpoints can be restored (`checkpoint.restore`). */
  readonly restore: CheckpointTrust | "off";
  /** Whether the image of a new container can be a checkpoint (`checkpoint.restore_containers`). */
  readonly restoreContainers: boolean;
  readonly layers: RestoredLayers;
}

/** Layers of what captured containers changed, on those of their images, and layers that checkpoints are in. */
export interface RestoredLayers {
  /** Keeps layers from being removed as unused until the result is disposed of. */
  readonly hold: (layers: readonly Digest[]) => Disposable;
  /** Makes a root of these layers possible, lowest first. */
  readonly complete: (layers: readonly Digest[], signal: AbortSignal) => Promise<void>;
  /** The archive of a layer; see `LayerPacker.archive`. */
  readonly archive: (layer: Digest, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /** Removes those that nothing uses. */
  readonly removeUnused: (layers: readonly Digest[]) => Promise<void>;
}

/** The dependencies of the container verbs. The composition root creates it once. */
export interface ContainerContext {
  readonly store: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly images: ImageStore;
  /** Undefined where no policy says which images may be used. */
  readonly verification?: ImageVerification | undefined;
  /** Notes that a new container uses an image, before the container is recorded. */
  readonly onImageUsed: (image: Digest) => void;
  readonly roots: Roots;
  readonly rootFiles: RootFiles;
  readonly specs: ContainerSpecs;
  readonly logs: ContainerLogs;
  readonly checkpoints: CheckpointAccess;
  /** The maximum size of the writable layer of a sandbox's new containers, in bytes; 0 for no limit. */
  readonly layerLimitOf: (sandbox: Sandbox) => number;
  /** True when the volumes that images declare are not created. */
  readonly ignoreVolumes: boolean;
  /** All container runtimes of this daemon. */
  readonly runtimes: readonly ContainerRuntime[];
  /** The runtime of a handler's containers. */
  readonly runtimeOf: (handler: BoundHandler) => ContainerRuntime;
  /**
   * Starts the kernel's wait before a process moves into a cgroup. A verb that starts a process calls
   * it first. It changes nothing and never fails.
   */
  readonly prewarmCgroupMigration: () => void;
  /** What the containers of a sandbox share. */
  readonly environmentOf: (sandbox: Sandbox) => SandboxEnvironment;
  readonly operations: Operations;
  readonly inflightCreates: InflightCreates;
  readonly janitor: Janitor;
  readonly failedTeardowns: FailedTeardowns;
  readonly cancellable: CancellableOperations;
  /** The containers that checkpoints have paused now. */
  readonly captured: Set<string>;
  /** The OOM kills in containers that continued to run. */
  readonly oomKills: Pick<OomKills, "of" | "total">;
  /** Reads what running containers use. */
  readonly usage: UsageReader;
  /** The denied system calls of containers with the seccomp notifier. */
  readonly deniedCalls?: Pick<DeniedCalls, "of" | "stopped" | "totals"> | undefined;
  /** Undefined where NRI is off. */
  readonly plugins?: EnginePlugins | undefined;
  /** Called after a container was removed, when its layers may be unused. */
  readonly onRemoved: (container: Container) => void;
  readonly locks: KeyedLock;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  readonly bootId: string;
  readonly times: ContainerTimes;
  /** The time that a handler's containers may take to be created, and to be started; undefined for that of `times`. */
  readonly createMsOf?: (handler: BoundHandler) => number | undefined;
}

/** The runtime that a container runs in. The record of its sandbox normally outlives its own. */
export function runtimeOf(
  context: Pick<ContainerContext, "sandboxes" | "runtimes" | "runtimeOf">,
  container: Container,
): ContainerRuntime {
  const sandbox = context.sandboxes.peek(container.sandboxId);
  // The record of the sandbox may be lost. The container must still be removable.
  const runtime = sandbox === undefined ? context.runtimes[0] : context.runtimeOf(sandbox.handler);
  if (runtime !== undefined) return runtime;
  throw new RuntimeError(
    "not-found",
    `find runtime of container "${container.id}": this daemon has no container runtime`,
  );
}

/** A running container; `failed-precondition` for any other. `doing` begins the error ("exec in"). */
export function runningContainer(
  context: Pick<ContainerContext, "store">,
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

/** Throws `invalid-argument` for an empty command. */
export function checkCommand(containerId: string, command: readonly string[]): void {
  if (command.length > 0) return;
  const text = `exec in container "${containerId}": the command is empty`;
  throw new RuntimeError("invalid-argument", text);
}

type SpecContext = Pick<ContainerContext, "store" | "sandboxes" | "environmentOf" | "roots">;

/** The current input of a container's OCI spec. */
export function specSubject(context: SpecContext, container: Container): SpecSubject {
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

/** The current input of the process spec of a command in a running container. */
export function execSubject(
  context: SpecContext & Pick<ContainerContext, "runtimes" | "runtimeOf">,
  container: Container,
): SpecSubject {
  const startedSpec = () => runtimeOf(context, container).spec(container.id);
  return { ...specSubject(context, container), startedSpec };
}

/** The container that the `target_id` of a request names; `not-found` when it does not exist. */
export function findTarget(context: Pick<ContainerContext, "store">, target: string): Container {
  try {
    return context.store.resolve(target);
  } catch (error) {
    throw wrap("find the container that shares its PID namespace (target_id)", error);
  }
}
