import type { LinuxContainerResources } from "../gen/runtime/v1/api_pb.ts";
import { linuxResources, mergedResources, type ResourceHost } from "./resources.ts";
import type { OciResources } from "../core/oci/index.ts";

/** The result of an update of resources. */
interface LimitUpdate {
  /** The resources in force afterwards. */
  readonly inForce: LinuxContainerResources;
  /** What is to be written: the update, with the limits that must be written together with its own. */
  readonly limits: LinuxContainerResources;
  /** The same for an OCI runtime; empty when nothing is to be written. */
  readonly spec: OciResources;
}

/**
 * Merges an update with the resources in force. Memory and swap are written together, since the
 * kernel checks one against the other (v1) or counts them apart (v2), and quota and period, since they
 * are one file on v2: crun writes the default for a missing one. The OOM score is not a limit
 * of the cgroup: a running process keeps its own.
 *
 * `invalid-argument` and `failed-precondition` as linuxResources(), for the update and for what
 * results from it and the resources before.
 */
export function resourceUpdate(
  before: LinuxContainerResources | undefined,
  update: LinuxContainerResources,
  host: ResourceHost,
): LimitUpdate {
  const inForce = mergedResources(before, update);
  const isCpu = update.cpuQuota !== 0n || update.cpuPeriod !== 0n;
  const isMemory = update.memoryLimitInBytes !== 0n || update.memorySwapLimitInBytes !== 0n;
  const limits: LinuxContainerResources = {
    ...update,
    cpuQuota: isCpu ? inForce.cpuQuota : 0n,
    cpuPeriod: isCpu ? inForce.cpuPeriod : 0n,
    memoryLimitInBytes: isMemory ? inForce.memoryLimitInBytes : 0n,
    memorySwapLimitInBytes: isMemory ? inForce.memorySwapLimitInBytes : 0n,
  };
  const spec = linuxResources(limits, host);
  linuxResources(inForce, host);
  return { inForce, limits, spec };
}
