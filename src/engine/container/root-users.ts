import { podUsers, type Sandbox } from "../../core/sandbox/index.ts";
import type { RootUsers } from "../../core/snapshot/index.ts";
import type { ContainerContext } from "./context.ts";

/** The id mapping of a container's root; undefined when the pod has no user namespace of its own. */
export function rootUsers(
  context: Pick<ContainerContext, "environmentOf">,
  sandbox: Sandbox,
): RootUsers | undefined {
  const users = podUsers(sandbox.config);
  if (users === undefined) return undefined;
  const namespace = context.environmentOf(sandbox).pins.user;
  if (namespace === undefined) return undefined;
  return { namespace, uid: users.uids.hostId, gid: users.gids.hostId };
}
