import { clone, create } from "@bufbuild/protobuf";
import {
  IDMappingSchema,
  LinuxPodSandboxConfigSchema,
  LinuxSandboxSecurityContextSchema,
  NamespaceMode,
  NamespaceOptionSchema,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  UserNamespaceSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { namespaceModes, type OwnRange, type Sandbox } from "./sandbox.ts";
import { podUsers } from "./user-namespace.ts";

/** The ids of the node that davit may give to pods. */
export interface IdPool {
  readonly first: number;
  /** The first id after the pool. */
  readonly end: number;
  /** Ids of each pod. */
  readonly length: number;
  /** Ranges in the pool that belong to others. */
  readonly reserved: readonly OwnRange[];
}

/** The config of a pod as if the client had asked for a user namespace with this range. */
export function withOwnIds(
  config: PodSandboxConfig,
  { hostId, length }: OwnRange,
): PodSandboxConfig {
  const own = clone(PodSandboxConfigSchema, config);
  own.linux ??= create(LinuxPodSandboxConfigSchema);
  own.linux.securityContext ??= create(LinuxSandboxSecurityContextSchema);
  own.linux.securityContext.namespaceOptions ??= create(NamespaceOptionSchema);
  const mapping = create(IDMappingSchema, { containerId: 0, hostId, length });
  own.linux.securityContext.namespaceOptions.usernsOptions = create(UserNamespaceSchema, {
    mode: NamespaceMode.POD,
    uids: [mapping],
    gids: [mapping],
  });
  return own;
}

/**
 * What in a pod's config needs the ids of the node, as the end of a sentence about the pod; undefined if
 * nothing does. Its containers are not known yet.
 */
export function nodeIdsOfPod(config: PodSandboxConfig, length: number): string | undefined {
  const { network, pid, ipc } = namespaceModes(config);
  if (network === NamespaceMode.NODE) return "it uses the node's network";
  if (pid === NamespaceMode.NODE) return "it sees the node's processes";
  if (ipc === NamespaceMode.NODE) return "it uses the node's IPC objects";
  const context = config.linux?.securityContext;
  if (context?.privileged === true) return "it has privileged containers";
  const groups = context?.supplementalGroups ?? [];
  const ids = [context?.runAsUser?.value, context?.runAsGroup?.value, ...groups];
  const above = ids.find((id) => id !== undefined && id >= BigInt(length));
  return above === undefined ? undefined : `id ${above} is not below ${length}`;
}

/**
 * The lowest free range of the pool; undefined when all are in use. Ranges of all sandboxes count, those that
 * clients chose included, until the sandbox is removed.
 */
export function freeRange(pool: IdPool, sandboxes: Iterable<Sandbox>): OwnRange | undefined {
  const taken = [...pool.reserved];
  for (const { config } of sandboxes) {
    const users = podUsers(config);
    if (users !== undefined) taken.push(users.uids, users.gids);
  }
  taken.sort((one, other) => one.hostId - other.hostId);
  let hostId = pool.first;
  for (const used of taken) {
    if (used.hostId >= hostId + pool.length) break;
    if (used.hostId + used.length <= hostId) continue;
    // Ranges begin at multiples of the length, as seen from the pool's begin.
    const over = used.hostId + used.length - pool.first;
    hostId = pool.first + Math.ceil(over / pool.length) * pool.length;
  }
  return hostId + pool.length <= pool.end ? { hostId, length: pool.length } : undefined;
}

/**
 * Why a container of this pod needed the ids of the node in an earlier sandbox; undefined if none did. Each sandbox has
 * the reason of the one before, since kubelet removes the old ones.
 */
export function neededNodeIds(
  config: PodSandboxConfig,
  sandboxes: Iterable<Sandbox>,
): string | undefined {
  const uid = config.metadata?.uid ?? "";
  if (uid === "") return undefined;
  for (const { config: other, ownIds } of sandboxes) {
    if (other.metadata?.uid !== uid || ownIds?.reason === undefined) continue;
    if (ownIds.range !== undefined || ownIds.inherited === true) return ownIds.reason;
  }
  return undefined;
}

/** The config that the client sent, as far as user namespaces go: what its containers' configs are compared with. */
export function requestedConfig({
  config,
  ownIds,
}: Pick<Sandbox, "config" | "ownIds">): PodSandboxConfig {
  if (ownIds?.range === undefined) return config;
  const requested = clone(PodSandboxConfigSchema, config);
  delete requested.linux?.securityContext?.namespaceOptions?.usernsOptions;
  return requested;
}
