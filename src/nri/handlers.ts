// The handlers of a plugin: what the runtime calls, and what a handler may answer.
import type { Adjustment } from "./builder/adjustment.ts";
import type { Update } from "./builder/update.ts";
import type {
  ContainerAdjustment,
  ContainerEviction,
  ContainerUpdate,
  OwningPlugins,
  PluginInstance,
} from "./changes.ts";
import type { Container, LinuxResources, PodSandbox } from "./messages.ts";

/** What every request has. */
export interface Request {
  /**
   * Aborted when the runtime no longer waits: at its timeout for requests (2 s by default) and when the connection
   * is lost. A runtime disconnects a plugin that does not answer in time.
   */
  readonly signal: AbortSignal;
}

/** The first request: who asks, and the plugin's configuration. */
export interface ConfigureRequest extends Request {
  /** The text of the plugin's file in the runtime's directory of plugin configurations; "" without one. */
  readonly config: string;
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  /** The version of NRI in the runtime; "" before NRI 0.12. */
  readonly nriVersion: string;
  /** Events that have a handler and that this runtime does not know, so that it never calls it. */
  readonly unsupported: readonly EventName[];
  /** The time within which a request must be answered. */
  readonly requestTimeoutMs: number;
}

/** All pods and containers of the node at the time at which the plugin was connected. */
export interface SynchronizeRequest extends Request {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
}

/** A request about a pod. */
export interface PodRequest extends Request {
  readonly pod: PodSandbox;
}

/** New resources of a pod, before they are applied. */
export interface UpdatePodSandboxRequest extends PodRequest {
  readonly overheadLinuxResources?: LinuxResources;
  readonly linuxResources?: LinuxResources;
}

/** A request about a container and its pod. */
export interface ContainerRequest extends PodRequest {
  readonly container: Container;
}

/** New resources of a container, before they are applied. */
export interface UpdateContainerRequest extends ContainerRequest {
  readonly linuxResources?: LinuxResources;
}

/** The result of all plugins for a container that is being created. */
export interface ValidateContainerAdjustmentRequest extends ContainerRequest {
  /** Absent: no plugin adjusts the container. */
  readonly adjust?: ContainerAdjustment;
  readonly update: readonly ContainerUpdate[];
  readonly owners?: OwningPlugins;
  readonly plugins: readonly PluginInstance[];
}

/** The end of a connection. */
export interface ClosedEvent {
  /** Why it ended. */
  readonly reason: string;
  /** True when the plugin will connect again by itself. */
  readonly reconnects: boolean;
}

/** A handler that has thrown. */
export interface FailedEvent {
  readonly handler: string;
  readonly error: unknown;
}

/** A value now or later. */
export type Answer<T> = T | Promise<T>;
/** A value, or the end of a function without one. */
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- a handler may have no return statement
export type Optional<T> = T | undefined | void;
/** Updates of containers: builders, or plain values. */
export type Updates = readonly (Update | ContainerUpdate)[];

/** Updates and evictions. */
export interface Changes {
  readonly updates?: Updates;
  readonly evict?: readonly ContainerEviction[];
}

/** The changes of a container that is being created, and of others. */
export interface CreateAnswer extends Changes {
  readonly adjust?: Adjustment | ContainerAdjustment;
}

/**
 * The handlers of a plugin; each is optional. The runtime is asked for the events that have a handler, and for no
 * others. What a handler throws becomes the reason that the runtime reports. For createContainer, this means that the
 * container is not created; other events cannot be prevented on every runtime.
 *
 * Handlers of different requests run at the same time when the runtime sends them so.
 */
export interface Handlers {
  /** Called once after each connect. The result, if there is one, is the events to subscribe to, instead of all that have a handler. */
  configure?(request: ConfigureRequest): Answer<Optional<readonly EventName[]>>;
  /** Called once after configure, before any event. */
  synchronize?(request: SynchronizeRequest): Answer<Optional<Updates>>;

  runPodSandbox?(request: PodRequest): Answer<void>;
  updatePodSandbox?(request: UpdatePodSandboxRequest): Answer<void>;
  postUpdatePodSandbox?(request: PodRequest): Answer<void>;
  stopPodSandbox?(request: PodRequest): Answer<void>;
  removePodSandbox?(request: PodRequest): Answer<void>;

  /** Called before a container is created: the only request that can adjust it. */
  createContainer?(request: ContainerRequest): Answer<Optional<Adjustment | CreateAnswer>>;
  postCreateContainer?(request: ContainerRequest): Answer<void>;
  startContainer?(request: ContainerRequest): Answer<void>;
  postStartContainer?(request: ContainerRequest): Answer<void>;
  /** Called before new resources are applied. An update of the same container replaces those of the request. */
  updateContainer?(request: UpdateContainerRequest): Answer<Optional<Updates | Changes>>;
  postUpdateContainer?(request: ContainerRequest): Answer<void>;
  stopContainer?(request: ContainerRequest): Answer<Optional<Updates>>;
  removeContainer?(request: ContainerRequest): Answer<void>;

  /** Called with the result of all plugins; to throw rejects it, and the container is not created. */
  validateContainerAdjustment?(request: ValidateContainerAdjustmentRequest): Answer<void>;

  /** The runtime is about to end. */
  shutdown?(): Answer<void>;
  /** The connection has ended, or with `reconnect` an attempt to connect has failed. */
  closed?(event: ClosedEvent): void;
  /** A handler has thrown. The runtime got its message; here is the error with its stack, for a log. */
  failed?(event: FailedEvent): void;
}

/** The events to which a plugin can subscribe. */
export type EventName =
  | "runPodSandbox"
  | "stopPodSandbox"
  | "removePodSandbox"
  | "createContainer"
  | "postCreateContainer"
  | "startContainer"
  | "postStartContainer"
  | "updateContainer"
  | "postUpdateContainer"
  | "stopContainer"
  | "removeContainer"
  | "updatePodSandbox"
  | "postUpdatePodSandbox"
  | "validateContainerAdjustment";
