import type { Container, RootFiles } from "../../core/container/index.ts";

/**
 * The user that a container runs as: the request's over the image's. A group is the request's,
 * or the image's where the user is the image's, too (api.proto, LinuxContainerSecurityContext).
 */
export function userOf(
  config: Container["config"],
  imageUser: string,
): Parameters<RootFiles["resolveUser"]>[1] {
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
