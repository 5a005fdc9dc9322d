import type { BoundHandler } from "../handler/index.ts";
import type { PodSandboxConfig, PodSandboxMetadata } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import type { SandboxState } from "./state.ts";

/** A process that is known across restarts: the start time tells it from a later one with its pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since the boot (proc_pid_stat(5)). */
  readonly startTime: string;
}

/** The cgroup of the pod: kubelet's, or one that davit made since nobody gave one. */
export interface PodCgroup {
  /** Path below each hierarchy's root, e.g. "/kubepods/burstable/pod1". Never ends with "/". */
  readonly parent: string;
  /**
   * The topmost cgroup on the way to the parent that davit made, the parent itself included;
   * undefined when the parent was there before. Only what davit made it writes and removes.
   */
  readonly ownedFrom: string | undefined;
  /** Who makes the cgroups in it; davit itself, by cgroupfs, where that is not said. */
  readonly driver?: "systemd";
}

/** Addresses and routes of a sandbox, as its CNI plugins answered. */
export interface SandboxNetwork {
  /** Addresses of the pod, the primary one first. Without prefix length. */
  readonly ips: readonly string[];
  /** The last plugin's result, as it came (CNI Success result). */
  readonly result: string;
}

/** SELinux labels of a pod: of its containers' processes, and of the files that those use. */
export interface PodLabels {
  readonly process: string;
  readonly mount: string;
}

/**
 * A pod sandbox: what the client asked for and what was made of it. An immutable value; the
 * {@link SandboxStore} holds the newest one of each id.
 */
export interface Sandbox {
  readonly id: string;
  /** The reserved name: pod name, namespace, uid and attempt, which one sandbox at most has. */
  readonly name: string;
  /** The client's RunPodSandboxRequest, byte for byte. */
  readonly requestBytes: Uint8Array;
  /** The config in those bytes. */
  readonly config: PodSandboxConfig;
  /** The last UpdatePodSandboxResourcesRequest, byte for byte, if there was one. */
  readonly resourcesBytes?: Uint8Array;
  readonly handler: BoundHandler;
  /** Wall clock, nanoseconds since 1970; undefined in a record that lost it. */
  readonly createdAtNs: bigint | undefined;
  /** /proc/sys/kernel/random/boot_id of the boot that it was made in. */
  readonly bootId: string;
  readonly state: SandboxState;
  readonly cgroup?: PodCgroup;
  /** The process that holds the pod's PID namespace, or the shim's; undefined where none is. */
  readonly process?: ProcessIdentity;
  /** Path of the pinned network namespace; undefined on host network. */
  readonly netnsPath?: string;
  readonly network?: SandboxNetwork;
  /** Where SELinux is on: no two pods that were given a level have the same. */
  readonly selinux?: PodLabels;
}

/**
 * The name that a pod's sandbox reserves: one attempt of one pod has one sandbox. Kubernetes
 * names hold no underscore; other clients' are doubled, so that two pods never share a name.
 */
export function sandboxName(metadata: PodSandboxMetadata): string {
  return [metadata.name, metadata.namespace, metadata.uid, String(metadata.attempt)]
    .map((part) => part.replaceAll("_", "__"))
    .join("_");
}

/** The namespace modes that a config asks for. Absent options are the zero value, POD (api.proto). */
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

/** True when the pod uses the node's own network. */
export function usesHostNetwork(config: PodSandboxConfig): boolean {
  return namespaceModes(config).network === NamespaceMode.NODE;
}
