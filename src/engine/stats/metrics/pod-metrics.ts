import type { InterfaceUsage, PodFigures, ResourceUsage } from "../../../core/stats/index.ts";
import { containerMetricGroups } from "./container-metrics.ts";
import { type AddSample, labelled, type Metric, metricGroup } from "./metric.ts";

/** cAdvisor leaves these out, too: they connect nested containers, and each has a new name. */
const inner = /^(veth|docker|nerdctl)/i;

const counters = [
  ["receive_bytes", "Bytes received.", "rxBytes"],
  ["receive_packets", "Packets received.", "rxPackets"],
  ["receive_packets_dropped", "Received packets that were dropped.", "rxDropped"],
  ["receive_errors", "Errors of receiving.", "rxErrors"],
  ["transmit_bytes", "Bytes sent.", "txBytes"],
  ["transmit_packets", "Packets sent.", "txPackets"],
  ["transmit_packets_dropped", "Packets that were dropped instead of sent.", "txDropped"],
  ["transmit_errors", "Errors of sending.", "txErrors"],
] as const satisfies readonly (readonly [string, string, keyof InterfaceUsage])[];

const network = metricGroup(
  (figures: PodFigures) =>
    figures.network && {
      takenAtNs: figures.network.takenAtNs,
      interfaces: figures.network.interfaces.flatMap((usage) =>
        inner.test(usage.name) ? [] : [{ usage, labels: [usage.name] }],
      ),
    },
  ({ takenAtNs }) => takenAtNs,
  counters.map(([name, help, counter]) =>
    labelled("counter", `network_${name}_total`, help, ["interface"], ({ interfaces }) =>
      interfaces.map(({ usage, labels }) => [usage[counter], labels] as const),
    ),
  ),
);

/**
 * The usage of a pod as its sandboxer reports it, in metrics of containers. Other pods have none: with those of their
 * containers a sum over the series of a pod would count everything twice.
 */
const reported = metricGroup(
  (figures: PodFigures) => figures.reported,
  ({ takenAtNs }: ResourceUsage) => takenAtNs,
  [
    ofContainers("container_cpu_usage_seconds_total", ({ cpu }) =>
      cpu === undefined ? [] : [[cpu.usageNs / 1_000_000_000n, ["total"]]],
    ),
    ofContainers("container_memory_usage_bytes", ({ memory }) => memory?.usage),
    ofContainers("container_memory_working_set_bytes", ({ memory }) => memory?.workingSet),
    ofContainers("container_memory_rss", ({ memory }) => memory?.rss),
    ofContainers("container_threads", ({ tasks }) => tasks),
  ],
);

/** The metrics that only pods have. */
export const podMetricGroups = [network];

/** Adds the samples of a pod itself. */
export function addPodSamples(figures: PodFigures, add: AddSample): void {
  network.read(figures, add);
  reported.read(figures, add);
}

function ofContainers(
  wanted: string,
  values: Metric<ResourceUsage>["values"],
): Metric<ResourceUsage> {
  const all = containerMetricGroups.flatMap(({ descriptors }) => descriptors);
  const descriptor = all.find(({ name }) => name === wanted);
  if (descriptor === undefined) throw new Error(`there is no metric "${wanted}"`);
  return { descriptor, values };
}
