import type { Container } from "../../../core/container/index.ts";
import type { Sandbox } from "../../../core/sandbox/index.ts";
import { listPodSandboxes } from "../../sandbox/index.ts";
import type { StatsContext } from "../context.ts";
import {
  addContainerSamples,
  addCurrentSamples,
  containerMetricGroups,
} from "./container-metrics.ts";
import type { AddSample, MetricDescriptor } from "./metric.ts";
import { addPodSamples, podMetricGroups } from "./pod-metrics.ts";

/** Samples, and the values that they are made from: while these are the same, so are the samples. */
interface Measured {
  readonly sources: readonly unknown[];
  readonly addSamples: (add: AddSample) => void;
}

/** A ready sandbox with its own samples. */
export interface PodMetrics extends Measured {
  readonly sandbox: Sandbox;
  /** Its running containers, without those whose cgroup could not be read in time. */
  readonly containers: readonly ContainerMetrics[];
}

/** A running container with its samples. */
export interface ContainerMetrics extends Measured {
  readonly container: Container;
  /** Adds samples that differ in each answer. */
  readonly addCurrent: (add: AddSample) => void;
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
    const containers = (running.get(sandbox.id) ?? []).flatMap((container): ContainerMetrics[] => {
      const its = figures.containers.get(container.id);
      if (its === undefined) return [];
      const view = { container, figures: its, fileSystem };
      return [
        {
          container,
          sources: [container, its.cgroup, its.slow, its.writableLayer, fileSystem],
          addSamples: (add) => {
            addContainerSamples(view, add);
          },
          addCurrent: (add) => {
            addCurrentSamples(view, add);
          },
        },
      ];
    });
    const sources = [ofPod.network, ofPod.reported];
    const addSamples = (add: AddSample): void => {
      addPodSamples(ofPod, add);
    };
    return { sandbox, sources, addSamples, containers };
  });
}
