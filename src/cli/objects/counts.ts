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
  const counted = withoutCompletedInit(containers, ends).map(({ container }) => container);
  return {
    running: counted.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).length,
    all: counted.length,
    failed: counted.some(({ id }) => (ends.get(id)?.exitCode ?? 0) !== 0),
  };
}

/** The last attempt of each container, in the order of the list, without completed init containers. */
export function withoutCompletedInit(
  containers: readonly PodContainer[],
  ends: ReadonlyMap<string, ContainerStatus>,
): readonly PodContainer[] {
  const newest = new Map<string, PodContainer>();
  for (const each of containers) {
    const name = each.container.metadata?.name ?? "";
    const other = newest.get(name)?.container;
    if (other === undefined || other.createdAt <= each.container.createdAt) newest.set(name, each);
  }
  const own = [...newest.values()];
  const isInit = ({ container: { id } }: PodContainer): boolean => {
    const end = ends.get(id);
    if (end === undefined || end.exitCode !== 0) return false;
    return own.some(
      ({ container }) => container.id !== id && container.createdAt >= end.finishedAt,
    );
  };
  return own.filter((each) => !isInit(each));
}
