import type {
  Container as PluginContainer,
  ContainerAdjustment,
  ContainerEviction,
  ContainerUpdate,
  LinuxResources,
  PodSandbox as PluginPod,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { Container } from "../container/index.ts";
import type { OciSpec } from "../oci/index.ts";
import type { Sandbox } from "../sandbox/index.ts";

/** A container, as plugins are told about it. */
export interface ContainerOfPlugins {
  readonly container: Container;
  readonly sandbox: Sandbox;
  /** The spec that it is started with, for the events that come with one; undefined reads nothing. */
  readonly spec?: OciSpec | undefined;
}

/** What plugins ask for other containers than the one of the event. */
export interface ChangesOfOthers {
  readonly updates: readonly ContainerUpdate[];
  readonly evictions: readonly ContainerEviction[];
}

/** What the plugins make of a new container. */
export interface CreatedWithPlugins extends ChangesOfOthers {
  /** All adjustments as one; undefined where no plugin adjusts anything. */
  readonly adjustment: ContainerAdjustment | undefined;
}

/** What the plugins make of an update of a container's resources. */
export interface UpdatedWithPlugins extends ChangesOfOthers {
  /** The resources to apply, instead of those of the request. */
  readonly resources: LinuxResources;
}

/**
 * The plugins of the node (NRI): programs that are told about each pod and container, and may change them.
 *
 * A call asks the plugins one after the other, by their index. It rejects with the plugin's name and its
 * reason when one refuses. A plugin that does not answer in time, or dies, is disconnected. Plugins are
 * trusted as root is, but what they answer is checked.
 */
export interface Plugins {
  /**
   * Keeps plugins from being synchronized while a verb changes pods or containers, so that each plugin
   * sees a change either in its Synchronize or as an event. Waits while one is being synchronized. A
   * verb that calls another one passes its hold on by not taking a second.
   */
  hold(signal: AbortSignal): Promise<Disposable>;
  /** False: no plugin is connected, and a call has nothing to do. */
  readonly active: boolean;

  runPodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void>;
  updatePodSandbox(
    pod: Sandbox,
    wanted: { readonly overhead?: LinuxResources; readonly resources?: LinuxResources },
    signal: AbortSignal,
  ): Promise<void>;
  postUpdatePodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void>;
  stopPodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void>;
  removePodSandbox(pod: Sandbox, signal: AbortSignal): Promise<void>;

  createContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<CreatedWithPlugins>;
  postCreateContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void>;
  startContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void>;
  postStartContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void>;
  updateContainer(
    of: ContainerOfPlugins,
    wanted: LinuxResources,
    signal: AbortSignal,
  ): Promise<UpdatedWithPlugins>;
  postUpdateContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void>;
  stopContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<ChangesOfOthers>;
  removeContainer(of: ContainerOfPlugins, signal: AbortSignal): Promise<void>;
}

/** What plugins may ask of the engine, and read of it. */
export interface PluginHost {
  /** All pods and containers that clients can see, as plugins are told about them at their Synchronize. */
  list(): { readonly pods: readonly PluginPod[]; readonly containers: readonly PluginContainer[] };
  /** Applies updates that a plugin asks for by itself; the result has those that failed. */
  update(updates: readonly ContainerUpdate[]): Promise<readonly ContainerUpdate[]>;
  /** Stops containers that a plugin asks to evict, each with its reason in status, log and events. */
  evict(evictions: readonly ContainerEviction[], plugin: string): Promise<void>;
}
