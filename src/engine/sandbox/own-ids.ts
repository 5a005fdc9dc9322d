import { messageOf } from "../../base/errors.ts";
import type { BoundHandler } from "../../core/handler/index.ts";
import {
  freeRange,
  neededNodeIds,
  nodeIdsOfPod,
  type OwnIds,
  podUsers,
  type Sandbox,
} from "../../core/sandbox/index.ts";
import type { SandboxContext } from "./context.ts";

/** What is known before the record of a sandbox is written. */
export type OwnIdsPlan = "not-ours" | { readonly reason: string | undefined };

/**
 * Decides whether a new pod gets ids of its own. "not-ours" when its request decides, or the setting is off.
 * Otherwise the plan has the reason that it does not get them, or none.
 */
export async function planOwnIds(
  { ownIds, handlers }: Pick<SandboxContext, "ownIds" | "handlers">,
  config: Sandbox["config"],
  handler: BoundHandler,
): Promise<OwnIdsPlan> {
  if (ownIds === undefined || podUsers(config) !== undefined || !ownIds.isFor(handler)) {
    return "not-ours";
  }
  if (handler.controller !== "podsandbox") {
    return { reason: `its handler has controller "${handler.controller}"` };
  }
  const reason = nodeIdsOfPod(config, ownIds.pool.length) ?? ownIds.obstacle();
  if (reason !== undefined) return { reason };
  try {
    await handlers.checkUserNamespaces(handler);
    return { reason: undefined };
  } catch (error) {
    return { reason: messageOf(error) };
  }
}

/**
 * The ids of a pod with this plan; undefined for "not-ours". The caller records them without an await in between,
 * so that no other pod gets the same range.
 */
export function chooseOwnIds(
  { ownIds, store }: Pick<SandboxContext, "ownIds" | "store">,
  plan: OwnIdsPlan,
  config: Sandbox["config"],
): OwnIds | undefined {
  if (plan === "not-ours" || ownIds === undefined) return undefined;
  // First, since the pod's later sandboxes need it also where this one has another reason, of the node.
  const needed = neededNodeIds(config, store.all());
  if (needed !== undefined) return { reason: needed, inherited: true };
  if (plan.reason !== undefined) return { reason: plan.reason };
  const range = freeRange(ownIds.pool, store.all());
  return range === undefined ? { reason: "all ranges of ids are in use" } : { range };
}
