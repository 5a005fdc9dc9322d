import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import type { ContainerStats } from "../../core/stats/index.ts";
import { type ContainerFilter, listContainers } from "../container/index.ts";
import type { StatsContext } from "./context.ts";

/** A container with what it uses. */
export interface MeasuredContainer {
  readonly container: Container;
  readonly stats: ContainerStats;
}

/**
 * What a container uses; one that does not run has its writable layer alone. `unavailable` when its
 * cgroup does not answer in time, else as resolving its id fails.
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
    `read stats of container "${container.id}": its cgroup does not answer, try again`,
  );
}

/**
 * What the containers that pass the filter use, in every state. A container whose cgroup does not
 * answer in time is left out.
 */
export async function listContainerStats(
  context: StatsContext,
  filter: ContainerFilter,
): Promise<readonly MeasuredContainer[]> {
  const containers = [...listContainers(context.containers, filter)];
  const measured = await context.stats.containers(containers);
  return containers.flatMap((container) => {
    const stats = measured.get(container.id);
    return stats === undefined ? [] : [{ container, stats }];
  });
}
