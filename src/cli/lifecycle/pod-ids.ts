import { assignIds as assign } from "../../client/pods/assign-ids.ts";
import type { PodManifest } from "../../manifest/index.ts";
import { type RunContext, withParts } from "./run-pod.ts";

/** Assigns ids of the node to each pod with a user namespace (client/pods/assign-ids.ts). */
export async function assignIds(
  context: RunContext,
  pods: readonly PodManifest[],
): Promise<readonly PodManifest[]> {
  return await assign(withParts(context), pods);
}
