/** Helpers for the suite of the CRI's metrics. */
import assert from "node:assert/strict";
import type { Metric, PodSandboxMetrics } from "../../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../daemon.ts";

/** The names that Kubernetes' conformance suite expects, without their prefix. */
export const expectedNames: readonly string[] = (
  "blkio_device_usage_total cpu_cfs_periods_total cpu_cfs_throttled_periods_total " +
  "cpu_cfs_throttled_seconds_total cpu_system_seconds_total cpu_usage_seconds_total " +
  "cpu_user_seconds_total file_descriptors fs_inodes_free fs_inodes_total fs_limit_bytes " +
  "fs_reads_bytes_total fs_reads_total fs_usage_bytes fs_writes_bytes_total fs_writes_total " +
  "hugetlb_max_usage_bytes hugetlb_usage_bytes last_seen memory_cache memory_failcnt " +
  "memory_failures_total memory_kernel_usage memory_mapped_file memory_max_usage_bytes " +
  "memory_rss memory_swap memory_usage_bytes memory_working_set_bytes " +
  "network_receive_bytes_total network_receive_errors_total " +
  "network_receive_packets_dropped_total network_receive_packets_total " +
  "network_transmit_bytes_total network_transmit_errors_total " +
  "network_transmit_packets_dropped_total network_transmit_packets_total oom_events_total " +
  "pressure_cpu_stalled_seconds_total pressure_cpu_waiting_seconds_total " +
  "pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total " +
  "pressure_memory_stalled_seconds_total pressure_memory_waiting_seconds_total processes " +
  "sockets spec_cpu_period spec_cpu_quota spec_cpu_shares spec_memory_limit_bytes " +
  "spec_memory_reservation_limit_bytes spec_memory_swap_limit_bytes start_time_seconds " +
  "threads threads_max ulimits_soft"
).split(" ");

/** Those without a value where a block device or the kernel does not count something. */
export function isOptional(name: string): boolean {
  return /^(blkio_|fs_(reads|writes)_|hugetlb_|pressure_)/.test(name);
}

/** A sample with its labels by key. */
export interface LabelledSample {
  readonly value: bigint;
  readonly timestamp: bigint;
  readonly labels: Readonly<Record<string, string>>;
}

/** Metrics with the labels of their descriptors, as kubelet joins them. */
export class MetricsOf {
  readonly #samples = new Map<string, LabelledSample[]>();

  constructor(metrics: readonly Metric[], keys: ReadonlyMap<string, readonly string[]>) {
    const seen = new Set<string>();
    for (const { name, labelValues, value, timestamp } of metrics) {
      const known = keys.get(name);
      assert.ok(known !== undefined, `${name} has a descriptor`);
      assert.equal(labelValues.length, known.length, name);
      assert.ok(value !== undefined, `${name} has a value`);
      const series = [name, ...labelValues].join("\0");
      assert.equal(seen.has(series), false, `${name} has each series once`);
      seen.add(series);
      const labels = Object.fromEntries(known.map((key, index) => [key, labelValues[index] ?? ""]));
      const samples = this.#samples.get(name) ?? [];
      samples.push({ value: value.value, timestamp, labels });
      this.#samples.set(name, samples);
    }
  }

  /** The names without their prefix. */
  get names(): readonly string[] {
    return [...this.#samples.keys()].map((name) => name.replace("container_", "")).sort();
  }

  /** All samples of a metric; the name is without its prefix. */
  all(name: string): readonly LabelledSample[] {
    return this.#samples.get(`container_${name}`) ?? [];
  }

  /** The sample of a metric with these labels. */
  one(name: string, labels: Readonly<Record<string, string>> = {}): LabelledSample {
    const found = this.all(name).filter((sample) =>
      Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    );
    const [first] = found;
    assert.ok(first !== undefined && found.length === 1, `one ${name} of ${found.length}`);
    return first;
  }

  value(name: string, labels: Readonly<Record<string, string>> = {}): bigint {
    return this.one(name, labels).value;
  }
}

/** The label keys of all metrics. */
export async function labelKeys({
  client,
}: Pick<TestDaemon, "client">): Promise<ReadonlyMap<string, readonly string[]>> {
  const { descriptors } = await client.runtime.listMetricDescriptors({});
  return new Map(descriptors.map(({ name, labelKeys: keys }) => [name, keys]));
}

/** The metrics of pods and containers by id. */
export async function listMetrics(daemon: TestDaemon): Promise<ReadonlyMap<string, MetricsOf>> {
  const { podMetrics } = await daemon.client.runtime.listPodSandboxMetrics({});
  return metricsById(podMetrics, await labelKeys(daemon));
}

/** The same from an answer. */
export function metricsById(
  pods: readonly PodSandboxMetrics[],
  keys: ReadonlyMap<string, readonly string[]>,
): ReadonlyMap<string, MetricsOf> {
  return new Map(
    pods.flatMap(({ podSandboxId, metrics, containerMetrics }) => [
      [podSandboxId, new MetricsOf(metrics, keys)] as const,
      ...containerMetrics.map(
        (one) => [one.containerId, new MetricsOf(one.metrics, keys)] as const,
      ),
    ]),
  );
}
