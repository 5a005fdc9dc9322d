import { ContainerState, type ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { PodContainer } from "./find.ts";

/** The number of containers of a pod. */
export interface ContainerCount {
  readonly running: number;
  readonly all: number;
  /** A container has exited with an error. */
  readonly failed: boolean;
}

/**
 * Counts the containers of a pod: only the last attempt of each, and without completed init containers.
 * The CRI does not mark init containers: these are the ones that exited with 0 before another one was
 * created. `ends` contains the statuses of exited containers, as far as they are known.
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
