import { ContainerState, type ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { PodContainer } from "./find.ts";

/** How many containers a pod has, and how many of them run. */
export interface ContainerCount {
  readonly running: number;
  readonly all: number;
  /** One of those that do not run has ended with a failure. */
  readonly failed: boolean;
}

/**
 * Counts containers of one pod: of several runs of one the last, and without those that had done their
 * work before another one was made, which are init containers. The CRI does not say which these are.
 * `ends` has the statuses of those that have ended, as far as they are known.
 */
export function countContainers(
  containers: readonly PodContainer[],
  ends: ReadonlyMap<string, ContainerStatus>,
): ContainerCount {
  const newest = new Map<string, PodContainer["container"]>();
  for (const { container } of containers) {
    const name = container.metadata?.name ?? "";
    const other = newest.get(name);
    if (other === undefined || other.createdAt <= container.createdAt) newest.set(name, container);
  }
  const own = [...newest.values()];
  const isInit = ({ id }: PodContainer["container"]): boolean => {
    const end = ends.get(id);
    if (end === undefined || end.exitCode !== 0) return false;
    return own.some((other) => other.id !== id && other.createdAt >= end.finishedAt);
  };
  const counted = own.filter((container) => !isInit(container));
  return {
    running: counted.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).length,
    all: counted.length,
    failed: counted.some(({ id }) => (ends.get(id)?.exitCode ?? 0) !== 0),
  };
}
