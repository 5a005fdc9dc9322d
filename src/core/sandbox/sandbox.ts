import type { BoundHandler } from "../handler/index.ts";
import type { PodSandboxConfig, PodSandboxMetadata } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import type { SandboxState } from "./state.ts";

/** Identifies a process across restarts of the daemon. The start time guards against a reused pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since the boot (proc_pid_stat(5)). */
  readonly startTime: string;
}

/** The cgroup of a pod: kubelet's, or one that davit created because the request had none. */
export interface PodCgroup {
  /** The path below the root of each hierarchy, e.g. "/kubepods/burstable/pod1". Never ends with "/". */
  readonly parent: string;
  /**
   * The topmost cgroup that davit created for the parent, possibly the parent itself; undefined when the
   * parent existed before. davit writes and removes only cgroups that it created.
   */
  readonly ownedFrom: string | undefined;
  /** The cgroup driver; absent for cgroupfs. */
  readonly driver?: "systemd";
}

/** The network of a sandbox, from the result of its CNI plugins. */
export interface SandboxNetwork {
  /** The addresses of the pod, the primary one first, without prefix length. */
  readonly ips: readonly string[];
  /** The unchanged result of the last plugin (CNI Success result). */
  readonly result: string;
}

/** The ids of the node that a pod has for itself: of users and of groups, from `hostId` on. */
export interface OwnRange {
  readonly hostId: number;
  readonly length: number;
}

/**
 * What davit decided about the ids of a pod that asked for no user namespace, where
 * `runtime.user_namespaces` is "auto".
 */
export interface OwnIds {
  /** The pod's range; undefined where it has the node's ids. */
  readonly range?: OwnRange | undefined;
  /** Why it has the node's ids; with a range: why a container of it needs them. */
  readonly reason?: string | undefined;
  /** The reason is that of an earlier sandbox of the pod, and holds for the later ones too. */
  readonly inherited?: boolean | undefined;
}

/** The SELinux labels of a pod: for the processes of its containers, and for their files. */
export interface PodLabels {
  readonly process: string;
  readonly mount: string;
}

/**
 * A pod sandbox: the client's request and its current state. An immutable value; the
 * {@link SandboxStore} has the newest one of each id.
 */
export interface Sandbox {
  readonly id: string;
  /** The unique name: pod name, namespace, uid and attempt. */
  readonly name: string;
  /** The client's RunPodSandboxRequest, byte for byte. */
  readonly requestBytes: Uint8Array;
  /** The config in those bytes; if davit gave it ids of its own, as if the client had asked for them. */
  readonly config: PodSandboxConfig;
  /** The last UpdatePodSandboxResourcesRequest, byte for byte, if there was one. */
  readonly resourcesBytes?: Uint8Array;
  readonly handler: BoundHandler;
  /** Wall clock, nanoseconds since 1970; undefined in a damaged record. */
  readonly createdAtNs: bigint | undefined;
  /** /proc/sys/kernel/random/boot_id of the boot in which it was created. */
  readonly bootId: string;
  readonly state: SandboxState;
  readonly cgroup?: PodCgroup;
  /** The process that holds the pod's PID namespace, or the shim; undefined when there is neither. */
  readonly process?: ProcessIdentity;
  /** Path of the pinned network namespace; undefined on host network. */
  readonly netnsPath?: string;
  readonly network?: SandboxNetwork;
  /** Set if SELinux is enabled. The level is unique unless the config has one. */
  readonly selinux?: PodLabels;
  /** What davit decided about its ids; absent where the request decides (`runtime.user_namespaces`). */
  readonly ownIds?: OwnIds;
  /** Its pod is being restored from a checkpoint, and no client knows it yet: a daemon that finds it so removes it. */
  readonly unfinished?: true;
}

/**
 * The unique name of a sandbox: one attempt of one pod has one sandbox. Kubernetes names have no
 * underscores. Those of other clients are doubled, so that two pods never share a name.
 */
export function sandboxName(metadata: PodSandboxMetadata): string {
  return [metadata.name, metadata.namespace, metadata.uid, String(metadata.attempt)]
    .map((part) => part.replaceAll("_", "__"))
    .join("_");
}

/** The namespace modes of a config. Absent options have the zero value, POD (api.proto). */
export function namespaceModes(config: PodSandboxConfig): {
  readonly network: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly ipc: NamespaceMode;
} {
  const options = config.linux?.securityContext?.namespaceOptions;
  return {
    network: options?.network ?? NamespaceMode.POD,
    pid: options?.pid ?? NamespaceMode.POD,
    ipc: options?.ipc ?? NamespaceMode.POD,
  };
}

/** True when the pod uses the network of the node. */
export function usesHostNetwork(config: PodSandboxConfig): boolean {
  return namespaceModes(config).network === NamespaceMode.NODE;
}
