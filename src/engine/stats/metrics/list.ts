import type { Container } from "../../../core/container/index.ts";
import type { Sandbox } from "../../../core/sandbox/index.ts";
import { listPodSandboxes } from "../../sandbox/index.ts";
import type { StatsContext } from "../context.ts";
import { containerMetricGroups, containerSamples } from "./container-metrics.ts";
import type { MetricDescriptor, Sample } from "./metric.ts";
import { podMetricGroups, podSamples } from "./pod-metrics.ts";

/** A ready sandbox with what its samples are made from. */
export interface PodMetrics {
  readonly sandbox: Sandbox;
  /** Its own samples. */
  readonly samples: () => readonly Sample[];
  /** Its running containers, without those whose cgroup could not be read in time. */
  readonly containers: readonly ContainerMetrics[];
}

/** A running container with what its samples are made from. */
export interface ContainerMetrics {
  readonly container: Container;
  readonly samples: () => readonly Sample[];
}

/** The descriptors of all metrics, in the order of their names. */
export const metricDescriptors: readonly MetricDescriptor[] = [
  ...containerMetricGroups.flatMap(({ descriptors }) => descriptors),
  ...podMetricGroups.flatMap(({ descriptors }) => descriptors),
].sort((one, other) => (one.name < other.name ? -1 : 1));

/** The metrics of all ready sandboxes and of their running containers. */
export async function listPodSandboxMetrics(context: StatsContext): Promise<readonly PodMetrics[]> {
  const sandboxes = listPodSandboxes(context.sandboxes, { ready: true });
  const running = new Map<string, Container[]>(sandboxes.map(({ id }) => [id, []]));
  for (const container of context.containers.store.listed()) {
    if (container.state.name === "running") running.get(container.sandboxId)?.push(container);
  }
  const figures = await context.stats.figures(sandboxes, [...running.values()].flat());
  const { fileSystem } = figures;
  return sandboxes.map((sandbox) => {
    const ofPod = figures.pods.get(sandbox.id) ?? { network: undefined, reported: undefined };
    const containers = (running.get(sandbox.id) ?? []).flatMap((container) => {
      const its = figures.containers.get(container.id);
      if (its === undefined) return [];
      const samples = (): readonly Sample[] =>
        containerSamples({ container, figures: its, fileSystem });
      return [{ container, samples }];
    });
    return { sandbox, samples: () => podSamples(ofPod), containers };
  });
}
