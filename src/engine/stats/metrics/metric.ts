/** A metric of the CRI, as ListMetricDescriptors describes it. */
export interface MetricDescriptor {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  /** The keys of all labels: those of {@link objectLabelKeys}, then its own. */
  readonly labelKeys: readonly string[];
}

/** A value of a metric for one pod or container. */
export interface Sample {
  readonly metric: MetricDescriptor;
  /** The values of the metric's own labels, in the order of their keys. */
  readonly labels: readonly string[];
  readonly value: bigint;
  /** When it was read, in nanoseconds since 1970; 0 for a value that is always current. */
  readonly atNs: bigint;
}

/**
 * The labels that name the object of a sample. kubelet and cAdvisor use the same ones. The order of all label keys is a
 * contract: kubelet asks for the descriptors once, and then takes values by their position. Append, never reorder.
 */
export const objectLabelKeys = ["container", "id", "image", "name", "namespace", "pod"] as const;

/** A value with the values of the metric's own labels. */
export type LabelledValue = readonly [value: bigint, labels: readonly string[]];

/** A metric and how to read it from a source; undefined when the source does not have it. */
export interface Metric<S> {
  readonly descriptor: MetricDescriptor;
  readonly values: (source: S) => bigint | undefined | readonly LabelledValue[];
}

/**
 * Takes the parts of a sample, in the order of {@link Sample}. A node with 200 pods has 12,000 samples, so no object is
 * made of each.
 */
export type AddSample = (
  metric: MetricDescriptor,
  labels: readonly string[],
  value: bigint,
  atNs: bigint,
) => void;

/** Metrics that are read together. */
export interface MetricGroup<V> {
  readonly descriptors: readonly MetricDescriptor[];
  /** Adds the samples of an object, always in the same order. */
  readonly read: (view: V, add: AddSample) => void;
}

/** Metrics of one source, which is a part of `V`; they have no samples where it is undefined. */
export function metricGroup<V, S>(
  source: (view: V) => S | undefined,
  atNs: (source: S) => bigint,
  metrics: readonly Metric<S>[],
): MetricGroup<V> {
  return {
    descriptors: metrics.map(({ descriptor }) => descriptor),
    read: (view, add) => {
      const from = source(view);
      if (from === undefined) return;
      const at = atNs(from);
      for (const { descriptor: metric, values } of metrics) {
        const found = values(from);
        if (typeof found === "bigint") add(metric, noLabels, found, at);
        else if (found !== undefined) {
          for (const [value, labels] of found) add(metric, labels, value, at);
        }
      }
    },
  };
}

const noLabels: readonly string[] = [];

/** A metric with one value, which may be missing. The name is without its prefix. */
export function single<S>(
  type: MetricDescriptor["type"],
  name: string,
  help: string,
  values: (source: S) => bigint | undefined,
): Metric<S> {
  return { descriptor: describe(type, name, help, []), values };
}

/** A metric with more labels, and a value for each combination of them that exists. */
export function labelled<S>(
  type: MetricDescriptor["type"],
  name: string,
  help: string,
  keys: readonly string[],
  values: (source: S) => readonly LabelledValue[],
): Metric<S> {
  return { descriptor: describe(type, name, help, keys), values };
}

function describe(
  type: MetricDescriptor["type"],
  name: string,
  help: string,
  keys: readonly string[],
): MetricDescriptor {
  return { type, name: `container_${name}`, help, labelKeys: [...objectLabelKeys, ...keys] };
}

/** Whole seconds: values of the CRI are integers. */
export function seconds(ns: bigint | undefined): bigint | undefined {
  return ns === undefined ? undefined : ns / 1_000_000_000n;
}
