import type { ContainerManifest } from "./container.ts";
import type { PodManifest } from "./pod.ts";

// The OOM scores of kubelet (pkg/kubelet/qos).
const guaranteed = -997;
const bestEffort = 1000;

/**
 * The OOM score of a container, by the QoS class of its pod. Guaranteed containers are killed last,
 * BestEffort ones first. The score of a Burstable container decreases with the share of the node's
 * memory that it requests.
 */
export function oomScoreAdj(
  container: ContainerManifest,
  { containers, initContainers }: PodManifest,
  nodeMemoryBytes: number,
): number {
  const all = [...containers, ...initContainers];
  if (all.every(isGuaranteed)) return guaranteed;
  if (all.every(requestsNothing)) return bestEffort;
  const requested = container.requests.memoryBytes ?? 0;
  const score = bestEffort - Math.floor((bestEffort * requested) / Math.max(nodeMemoryBytes, 1));
  return Math.min(Math.max(score, bestEffort + guaranteed), bestEffort - 1);
}

function isGuaranteed({ requests, limits }: ContainerManifest): boolean {
  const same = (limit: number | undefined, request: number | undefined): boolean =>
    limit !== undefined && limit > 0 && limit === request;
  return same(limits.cpu, requests.cpu) && same(limits.memoryBytes, requests.memoryBytes);
}

function requestsNothing({ requests, limits }: ContainerManifest): boolean {
  const amounts = [requests.cpu, requests.memoryBytes, limits.cpu, limits.memoryBytes];
  return amounts.every((amount) => (amount ?? 0) === 0);
}
