// What plugins answer, as plain values. The builders of builder/ make them; plugins read them in validateContainerAdjustment.
import type {
  CDIDevice,
  Hooks,
  LinuxDevice,
  LinuxIOPriority,
  LinuxMemoryPolicy,
  LinuxNamespace,
  LinuxNetDevice,
  LinuxRdt,
  LinuxResources,
  LinuxScheduler,
  LinuxSeccomp,
  Mount,
  POSIXRlimit,
} from "./messages.ts";

/** Changes of a container that is being created. A key that begins with "-" removes what has the rest as its key. */
export interface ContainerAdjustment {
  readonly annotations: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  readonly env: readonly KeyValue[];
  readonly hooks?: Hooks;
  readonly linux?: LinuxContainerAdjustment;
  readonly rlimits: readonly POSIXRlimit[];
  readonly cdiDevices: readonly CDIDevice[];
  /** The command; a first "" means that it replaces also a command that another plugin has set. */
  readonly args: readonly string[];
}

/** An environment variable. */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

/** The part of an adjustment that is specific to Linux. */
export interface LinuxContainerAdjustment {
  readonly devices: readonly LinuxDevice[];
  readonly resources?: LinuxResources;
  readonly cgroupsPath: string;
  readonly oomScoreAdj?: bigint;
  readonly ioPriority?: LinuxIOPriority;
  readonly seccompPolicy?: LinuxSeccomp;
  readonly namespaces: readonly LinuxNamespace[];
  readonly sysctl: Readonly<Record<string, string>>;
  readonly netDevices: Readonly<Record<string, LinuxNetDevice>>;
  readonly scheduler?: LinuxScheduler;
  readonly rdt?: LinuxRdt;
  readonly memoryPolicy?: LinuxMemoryPolicy;
}

/** New limits of a container that exists. */
export interface ContainerUpdate {
  readonly containerId: string;
  readonly linux?: LinuxContainerUpdate;
  /** When this update fails, the request that it answers succeeds. */
  readonly ignoreFailure: boolean;
}

/** The part of an update that is specific to Linux. */
export interface LinuxContainerUpdate {
  readonly resources?: LinuxResources;
}

/** A request to stop a container. */
export interface ContainerEviction {
  readonly containerId: string;
  readonly reason: string;
}

/** Which plugin has set which field of which container: by container, field (`Field` of NRI's protocol) and key. */
export interface OwningPlugins {
  readonly owners: Readonly<Record<string, FieldOwners>>;
}

/** The owners of the fields of one container, by the number of the field. */
export interface FieldOwners {
  readonly simple: Readonly<Record<string, string>>;
  readonly compound: Readonly<Record<string, CompoundFieldOwners>>;
}

/** The owners of the entries of one field, by their keys. */
export interface CompoundFieldOwners {
  readonly owners: Readonly<Record<string, string>>;
}

/** A plugin that has adjusted a container. */
export interface PluginInstance {
  readonly name: string;
  readonly index: string;
}
