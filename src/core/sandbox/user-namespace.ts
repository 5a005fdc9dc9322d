import { RuntimeError } from "../../base/errors.ts";
import type { IDMapping, PodSandboxConfig, UserNamespace } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";

/** A range of ids in a user namespace, and the ids of the node that it maps to. */
export interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}

/** The ids of a pod with a user namespace of its own. */
export interface PodUsers {
  readonly uids: IdRange;
  readonly gids: IdRange;
}

// The kernel reserves the highest id for "no id" (user_namespaces(7)).
const idCount = 2 ** 32 - 1;

function userOptions(config: PodSandboxConfig): UserNamespace | undefined {
  return config.linux?.securityContext?.namespaceOptions?.usernsOptions;
}

/** The ids of a pod with a user namespace of its own; undefined when it uses that of the node. */
export function podUsers(config: PodSandboxConfig): PodUsers | undefined {
  const options = userOptions(config);
  if (options?.mode !== NamespaceMode.POD) return undefined;
  const [uids] = options.uids;
  const [gids] = options.gids;
  return uids === undefined || gids === undefined ? undefined : { uids, gids };
}

/**
 * Rejects unsupported user namespaces. Like containerd, davit supports what kubelet requests: one range
 * of uids and one of gids, each starting at container id 0.
 */
export function checkUserNamespace(config: PodSandboxConfig): void {
  const options = userOptions(config);
  if (options === undefined) return;
  const { mode, uids, gids } = options;
  if (mode === NamespaceMode.NODE) {
    if (uids.length + gids.length > 0) {
      refuse(" has uids or gids, which mode NODE cannot have; leave them out, or set mode to POD");
    }
    return;
  }
  if (mode !== NamespaceMode.POD) {
    const name = Object.entries(NamespaceMode).find(([, value]) => value === mode)?.[0];
    refuse(`.mode must be POD or NODE, got ${name ?? String(mode)}`);
  }
  checkRange("uids", uids);
  checkRange("gids", gids);
  const modes = config.linux?.securityContext?.namespaceOptions;
  for (const field of ["pid", "ipc"] as const) {
    // The kernel mounts /proc and /dev/mqueue only for the owner of their namespaces.
    if (modes?.[field] === NamespaceMode.NODE) {
      refuse(`.mode is POD, which a pod with namespace_options.${field} NODE cannot have`);
    }
  }
}

function checkRange(field: string, mappings: readonly IDMapping[]): void {
  const [mapping, ...more] = mappings;
  if (mapping === undefined || more.length > 0) {
    refuse(`.${field} must be one mapping, got ${String(mappings.length)}`);
  }
  const { containerId, hostId, length } = mapping;
  if (containerId !== 0) {
    refuse(`.${field} must begin with container_id 0, got ${String(containerId)}`);
  }
  if (length === 0) refuse(`.${field} has length 0, it must map at least one id`);
  if (hostId + length > idCount) {
    refuse(
      `.${field} must end below ${String(idCount)}, got host_id ${String(hostId)} and length ${String(length)}`,
    );
  }
}

function refuse(why: string): never {
  throw new RuntimeError("invalid-argument", `check sandbox config: userns_options${why}`);
}

/** True when two requests mean the same user namespace. Absent options mean that of the node. */
export function isSameUserNamespace(
  one: UserNamespace | undefined,
  other: UserNamespace | undefined,
): boolean {
  return text(one) === text(other);
}

function text(options: UserNamespace | undefined): string {
  const ranges = (mappings: readonly IDMapping[]): readonly (readonly number[])[] =>
    mappings.map(({ containerId, hostId, length }) => [containerId, hostId, length]);
  const { mode, uids, gids } = options ?? { mode: NamespaceMode.NODE, uids: [], gids: [] };
  return JSON.stringify([mode, ranges(uids), ranges(gids)]);
}
