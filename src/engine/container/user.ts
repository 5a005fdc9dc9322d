import type { Container, RootFiles } from "../../core/container/index.ts";

/**
 * The user that a container runs as. The user of the request overrides that of the image. The group is
 * that of the request, or that of the image when the user is also the image's (api.proto,
 * LinuxContainerSecurityContext).
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
