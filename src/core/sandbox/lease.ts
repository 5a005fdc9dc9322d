import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";

/** The label of a pod that is removed when a lease ends: the lease's id (davit.v1.Leases). */
export const leaseLabel = "davit.dev/lease";

/** The id of the lease that a pod belongs to; `undefined` for a pod without one. */
export function leaseIdOf({ labels }: Pick<PodSandboxConfig, "labels">): string | undefined {
  return labels[leaseLabel];
}
