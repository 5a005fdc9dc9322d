import { podUsers, type Sandbox } from "../../core/sandbox/index.ts";
import type { RootUsers } from "../../core/snapshot/index.ts";
import type { ContainerContext } from "./context.ts";

/** What a container's root must know of the pod's user namespace, where it has one of its own. */
export function rootUsers(context: ContainerContext, sandbox: Sandbox): RootUsers | undefined {
  const users = podUsers(sandbox.config);
  if (users === undefined) return undefined;
  const namespace = context.environmentOf(sandbox).pins.user;
  if (namespace === undefined) return undefined;
  return { namespace, uid: users.uids.hostId, gid: users.gids.hostId };
}
