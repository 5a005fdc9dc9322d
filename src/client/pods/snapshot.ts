// What a snapshot keeps of its pod, and the requests that restore it under another name.
import { chmod, mkdir } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import type { Snapshot } from "../../gen/davit/v1/checkpoints_pb.ts";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxMetadataSchema,
  type PortMapping,
} from "../../gen/runtime/v1/api_pb.ts";
import type { PodNames } from "../../manifest/index.ts";
import { decodeMessage } from "../../wire/protobuf.ts";

/** A snapshot with the configs that it keeps. */
export interface PodSnapshot {
  readonly id: string;
  /** Its directory on the node. */
  readonly path: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly runtimeHandler: string;
  readonly config: PodSandboxConfig;
  readonly containers: readonly ContainerConfig[];
}

/** How a restored pod differs from the one in the snapshot. */
export interface RestoreChanges {
  readonly names: PodNames;
  /** The directory of the pod for logs and emptyDir volumes. */
  readonly directory: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly portMappings: readonly PortMapping[];
}

/** The configs of a restored pod. */
export interface RestoreConfigs {
  readonly sandbox: PodSandboxConfig;
  readonly containers: readonly ContainerConfig[];
}

/** Decodes a snapshot of a server. `unimplemented` for one that does not have the configs of its pod. */
export function readSnapshot(snapshot: Snapshot): PodSnapshot {
  const { id, path, podName, podNamespace, runtimeHandler, containers } = snapshot;
  if (snapshot.config.length === 0 || containers.some(({ config }) => config.length === 0)) {
    throw new RuntimeError(
      "unimplemented",
      `restore snapshot "${id}": it does not have the configs of its pod; restore "${path}" with RestorePod of the CRI`,
    );
  }
  return {
    ...{ id, path, podName, podNamespace, runtimeHandler },
    config: decodeMessage(PodSandboxConfigSchema, snapshot.config),
    containers: containers.map(({ config }) => decodeMessage(ContainerConfigSchema, config)),
  };
}

/** True for a snapshot of a pod in the network namespace of the node, which has no address of its own. */
export function usesHostNetwork({ config }: Pick<PodSnapshot, "config">): boolean {
  return config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE;
}

/**
 * The configs of a restored pod: its names, log directory and emptyDir volumes are its own, and davit makes its cgroup.
 * Everything else is as in the snapshot.
 */
export function restoreConfigs(snapshot: PodSnapshot, changes: RestoreChanges): RestoreConfigs {
  const { config } = snapshot;
  const { names, directory, portMappings } = changes;
  const own = ownLabels(names);
  const sandbox = create(PodSandboxConfigSchema, {
    ...config,
    metadata: create(PodSandboxMetadataSchema, { ...names, attempt: 0 }),
    hostname: hostnameOf(snapshot, names),
    logDirectory: join(directory, "logs"),
    labels: { ...changes.labels, ...replaced(changes.labels, own) },
    annotations: { ...changes.annotations },
    portMappings: [...portMappings],
    ...(config.linux && { linux: { ...config.linux, cgroupParent: "" } }),
  });
  const containers = snapshot.containers.map((container) =>
    create(ContainerConfigSchema, {
      ...container,
      labels: { ...container.labels, ...replaced(container.labels, own) },
      mounts: container.mounts.map((mount) => ({
        ...mount,
        hostPath: ownVolume(mount.hostPath, snapshot, directory) ?? mount.hostPath,
      })),
    }),
  );
  return { sandbox, containers };
}

/**
 * Creates the directories of a restored pod: for the logs of its containers, and its emptyDir volumes. A snapshot does
 * not have the files of volumes, so these are empty.
 */
export async function makeRestoreDirectories(
  snapshot: PodSnapshot,
  directory: string,
): Promise<void> {
  for (const { metadata, mounts } of snapshot.containers) {
    await mkdir(join(directory, "logs", metadata?.name ?? ""), { recursive: true, mode: 0o755 });
    for (const { hostPath } of mounts) {
      const path = ownVolume(hostPath, snapshot, directory);
      if (path === undefined) continue;
      await mkdir(path, { recursive: true, mode: 0o755 });
      await chmod(path, 0o777);
    }
  }
}

/** The path in the new pod's directory of a volume in that of the snapshot's pod; undefined for other volumes. */
function ownVolume(
  hostPath: string,
  { config }: Pick<PodSnapshot, "config">,
  directory: string,
): string | undefined {
  if (config.logDirectory === "") return undefined;
  const former = `${join(dirname(config.logDirectory), "volumes")}/`;
  // A path with dots may lead anywhere: it is not one of ours.
  return hostPath.startsWith(former) && normalize(hostPath) === hostPath
    ? join(directory, "volumes", hostPath.slice(former.length))
    : undefined;
}

/** A hostname that was made of the pod's name is made of the new one. */
function hostnameOf({ config, podName }: PodSnapshot, { name }: PodNames): string {
  const cut = (text: string): string => text.slice(0, 63).replace(/[-.]+$/, "");
  return config.hostname === cut(podName) ? cut(name) : config.hostname;
}

/** The labels by which kubelet and its tools find a pod. */
function ownLabels({ name, namespace, uid }: PodNames): Readonly<Record<string, string>> {
  return {
    "io.kubernetes.pod.name": name,
    "io.kubernetes.pod.namespace": namespace,
    "io.kubernetes.pod.uid": uid,
  };
}

/** Those of the new labels that the old ones have. */
function replaced(
  old: Readonly<Record<string, string>>,
  by: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(by).filter(([key]) => Object.hasOwn(old, key)));
}
