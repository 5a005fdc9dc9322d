import type { ContainerManifest } from "./container.ts";
import type { PodManifest } from "./pod.ts";

// kubelet's own (pkg/kubelet/qos): what the kernel kills first when memory is short.
const guaranteed = -997;
const bestEffort = 1000;

/**
 * The OOM score of a container, by its pod's quality of service: what has all that it may use
 * reserved is killed last, what has asked for nothing first, and in between what has asked for
 * less of the node's memory.
 */
export function oomScoreAdj(
  container: ContainerManifest,
  { containers, initContainers }: PodManifest,
  nodeMemoryBytes: number,
): number {
  const all = [...containers, ...initContainers];
  if (all.every(isGuaranteed)) return guaranteed;
  if (all.every(asksForNothing)) return bestEffort;
  const asked = container.requests.memoryBytes ?? 0;
  const score = bestEffort - Math.floor((bestEffort * asked) / Math.max(nodeMemoryBytes, 1));
  return Math.min(Math.max(score, bestEffort + guaranteed), bestEffort - 1);
}

function isGuaranteed({ requests, limits }: ContainerManifest): boolean {
  const same = (limit: number | undefined, request: number | undefined): boolean =>
    limit !== undefined && limit > 0 && limit === request;
  return same(limits.cpu, requests.cpu) && same(limits.memoryBytes, requests.memoryBytes);
}

function asksForNothing({ requests, limits }: ContainerManifest): boolean {
  const amounts = [requests.cpu, requests.memoryBytes, limits.cpu, limits.memoryBytes];
  return amounts.every((amount) => (amount ?? 0) === 0);
}
