import type {
  ContainerAdjustment,
  ContainerEviction,
  ContainerUpdate,
  LinuxResources,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { Container } from "../container/index.ts";
import type { OciSpec } from "../oci/index.ts";
import type { Sandbox } from "../sandbox/index.ts";

/** A container, as plugins are told about it. */
export interface ContainerOfPlugins {
  readonly container: Container;
  readonly sandbox: Sandbox;
  /**
   * Reads the spec that it is started with; undefined when there is none. Call it only when a plugin is
   * told: it may read files. It never rejects.
   */
  readonly spec: () => Promise<OciSpec | undefined>;
  /** Its process, at a start whose process is not recorded yet. */
  readonly pid?: number | undefined;
}

/** An eviction in an answer. */
export interface AskedEviction extends Pick<ContainerEviction, "containerId" | "reason"> {
  /** Index and name of the plugin that asks for it. */
  readonly plugin?: string;
}

/** What plugins ask for other containers than the one of the event. */
export interface ChangesOfOthers {
  readonly updates: readonly ContainerUpdate[];
  readonly evictions: readonly AskedEviction[];
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
  /** False: no plugin is connected or about to be synchronized, and a call has nothing to do. */
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

  /**
   * Asks for adjustments of a new container and validates them. Rejects with `failed-precondition` when
   * plugins contradict each other, and with the plugin's own error when one refuses the container.
   */
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

/** An adjustment, divided by who applies it. */
export interface DividedAdjustment {
  /**
   * The resources that the CRI knows, as an update; undefined when there are none. They are among those in
   * force, where an update of the CRI can change them.
   */
  readonly resources: LinuxContainerResources | undefined;
  /** Everything else, encoded, for the container's record and its spec; undefined when nothing is left. */
  readonly rest: Uint8Array | undefined;
}

/** Conversions between the resources of plugins and those of the CRI. Loaded with the driver. */
export interface PluginMessages {
  /** Limits that are not set have the value 0. */
  pluginResources(resources: LinuxContainerResources): LinuxResources;
  /**
   * What the CRI knows of them, as an update: 0 and empty change nothing. Limits that the CRI does not have
   * are left out: reservation, swappiness, pids, devices, classes.
   */
  criResources(resources: LinuxResources): LinuxContainerResources;
  /** `resource-exhausted` for an adjustment of more than 1 MiB. */
  divideAdjustment(adjustment: ContainerAdjustment): DividedAdjustment;
}

/** What plugins may ask of the engine, and read of it. */
export interface PluginHost {
  /**
   * All finished pods, and the containers that are created or run: what a plugin is told at its
   * Synchronize. An exited container is told only at its removal, as by containerd.
   */
  list(): { readonly pods: readonly Sandbox[]; readonly containers: readonly ContainerOfPlugins[] };
  /** Applies updates that a plugin asks for by itself; the result has those that failed. */
  update(updates: readonly ContainerUpdate[]): Promise<readonly ContainerUpdate[]>;
  /** Stops containers that a plugin asks to evict, each with its reason in log and events. */
  evict(evictions: readonly ContainerEviction[], plugin: string): Promise<void>;
}
