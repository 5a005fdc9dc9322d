import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import type { ContainerStats } from "../../core/stats/index.ts";
import { type ContainerFilter, listContainers } from "../container/index.ts";
import type { StatsContext } from "./context.ts";

/** A container with its resource usage. */
export interface MeasuredContainer {
  readonly container: Container;
  readonly stats: ContainerStats;
}

/**
 * The resource usage of a container; for one that is not running only that of its writable layer.
 * `unavailable` when it cannot be read in time; other errors as for resolving the id.
 */
export async function containerStats(
  context: StatsContext,
  idOrPrefix: string,
): Promise<MeasuredContainer> {
  const container = context.containers.store.resolve(idOrPrefix);
  const stats = (await context.stats.containers([container])).get(container.id);
  if (stats !== undefined) return { container, stats };
  throw new RuntimeError(
    "unavailable",
    `read stats of container "${container.id}": its cgroup could not be read in time; try again`,
  );
}

/**
 * The resource usage of the containers that match the filter, in every state. A container whose usage
 * cannot be read in time is left out.
 */
export async function listContainerStats(
  context: StatsContext,
  filter: ContainerFilter,
): Promise<readonly MeasuredContainer[]> {
  const containers = listContainers(context.containers, filter);
  const measured = await context.stats.containers(containers);
  return containers.flatMap((container) => {
    const stats = measured.get(container.id);
    return stats === undefined ? [] : [{ container, stats }];
  });
}
