import type { Container, ContainerUser, RootFiles } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";

/** The user that a container is to run as. */
type WantedUser = Parameters<RootFiles["resolveUser"]>[1];

/**
 * The user that a container runs as. The user of the request overrides that of the image. The group is
 * that of the request, or that of the image when the user is also the image's (api.proto,
 * LinuxContainerSecurityContext).
 */
export function userOf(config: Container["config"], imageUser: string): WantedUser {
  const context = config.linux?.securityContext;
  const asked = context?.runAsUsername || context?.runAsUser?.value.toString() || "";
  const group = context?.runAsGroup?.value.toString();
  const user = asked === "" ? imageUser : asked;
  return {
    user: group === undefined ? user : `${user.split(":")[0] ?? ""}:${group}`,
    supplementalGroups: context?.supplementalGroups ?? [],
    mergeImageGroups: context?.supplementalGroupsPolicy !== strictGroups,
  };
}

// SupplementalGroupsPolicy.Strict (api.proto).
const strictGroups = 1;

/**
 * The user that a command runs as, which the request for it names. Like the container's own user it is in the groups
 * that the pod gives to all of its processes.
 */
export function userOfCommand(config: Container["config"], user: string): WantedUser {
  return { ...userOf(config, ""), user };
}

/** The most users that are remembered of one image; requests choose them. */
const maxUsers = 32;

/** By the config of their image, which has the same files in each new root. */
const knownUsers = new WeakMap<Image["config"], Map<string, ContainerUser>>();

/** What resolveUser() answered for an earlier container of the image; undefined if none asked for this user. */
export function knownUser({ config }: Image, wanted: WantedUser): ContainerUser | undefined {
  return knownUsers.get(config)?.get(keyOf(wanted));
}

/** Remembers what resolveUser() answered for a new root of the image. */
export function rememberUser({ config }: Image, wanted: WantedUser, user: ContainerUser): void {
  const users = knownUsers.get(config) ?? new Map<string, ContainerUser>();
  if (users.size >= maxUsers) users.clear();
  knownUsers.set(config, users.set(keyOf(wanted), user));
}

function keyOf({ user, supplementalGroups, mergeImageGroups }: WantedUser): string {
  return `${String(mergeImageGroups)} ${supplementalGroups.join(",")} ${user}`;
}
