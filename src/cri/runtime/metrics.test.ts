import assert from "node:assert/strict";
import { create, fromBinary } from "@bufbuild/protobuf";
import { test } from "node:test";

import { type Container, ContainerStore } from "../../core/container/index.ts";
import { type Sandbox, SandboxStore } from "../../core/sandbox/index.ts";
import type { CgroupFigures, Figures } from "../../core/stats/index.ts";
import {
  ContainerConfigSchema,
  ListMetricDescriptorsResponseSchema,
  ListPodSandboxMetricsResponseSchema,
  type Metric,
  MetricType,
  PodSandboxConfigSchema,
  StreamPodSandboxMetricsResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { listMetricDescriptors } from "./list-metric-descriptors.ts";
import { listPodSandboxMetrics } from "./list-pod-sandbox-metrics.ts";
import { streamPodSandboxMetrics } from "./stream-pod-sandbox-metrics.ts";

const atNs = 1_796_079_391_123_456_789n;
const counters = {
  rxBytes: (1n << 64n) - 1n,
  rxPackets: 0n,
  rxErrors: 0n,
  rxDropped: 0n,
  txBytes: 128n,
  txPackets: 0n,
  txErrors: 0n,
  txDropped: 0n,
};

/** Pods p0, p1... with a container each. */
function contextWith(count: number, podName = "web"): CriContext {
  const nothing = { put: () => undefined, delete: () => undefined };
  const sandboxes = new SandboxStore(nothing);
  const containers = new ContainerStore(nothing);
  const pods = new Map<string, NonNullable<ReturnType<Figures["pods"]["get"]>>>();
  const figures = new Map<string, NonNullable<ReturnType<Figures["containers"]["get"]>>>();
  for (let at = 0; at < count; at++) {
    const id = `p${String(at)}`;
    const metadata = { name: podName, namespace: "prod", uid: id, attempt: 0 };
    const config = create(PodSandboxConfigSchema, { metadata });
    const cgroup = { parent: `/kubepods/${id}` };
    sandboxes.add({ id, name: id, config, cgroup, state: { name: "ready" } } as Sandbox);
    sandboxes.list(id);
    containers.add({
      id: `c${String(at)}`,
      name: `c${String(at)}`,
      sandboxId: id,
      config: create(ContainerConfigSchema, { metadata: { name: "käse" } }),
      image: { shown: "example.com/web:1" },
      cgroupPath: `/kubepods/${id}/c${String(at)}`,
      state: { name: "running", startedAtNs: atNs },
    } as Container);
    containers.list(`c${String(at)}`);
    const interfaces = [{ name: "eth0", ...counters }];
    pods.set(id, { network: { takenAtNs: atNs, interfaces }, reported: undefined });
    figures.set(`c${String(at)}`, {
      seenAtNs: atNs,
      cgroup: undefined,
      slow: undefined,
      writableLayer: undefined,
    });
  }
  return {
    sandboxes: { store: sandboxes },
    containers: { store: containers },
    stats: { figures: () => Promise.resolve({ pods, containers: figures, fileSystem: undefined }) },
  } as unknown as CriContext;
}

function named(metrics: readonly Metric[] | undefined, name: string): Metric {
  const found = metrics?.find((metric) => metric.name === `container_${name}`);
  assert.ok(found !== undefined, name);
  return found;
}

test("listMetricDescriptors() has help and label keys", async () => {
  const bytes = await listMetricDescriptors({} as CriContext);
  const { descriptors } = fromBinary(ListMetricDescriptorsResponseSchema, bytes);
  assert.equal(descriptors.length, 56);
  const failures = descriptors.find(({ name }) => name === "container_memory_failures_total");
  assert.deepEqual(failures?.labelKeys, [
    "container",
    "id",
    "image",
    "name",
    "namespace",
    "pod",
    "failure_type",
    "scope",
  ]);
  assert.match(failures.help, /Page faults/);
});

test("listPodSandboxMetrics() has names, labels, times, types and values, also those that are 0", async () => {
  const bytes = await listPodSandboxMetrics(contextWith(2));
  const { podMetrics } = fromBinary(ListPodSandboxMetricsResponseSchema, bytes);
  assert.deepEqual(
    podMetrics.map((one) => [one.podSandboxId, ...one.containerMetrics.map((c) => c.containerId)]),
    [
      ["p0", "c0"],
      ["p1", "c1"],
    ],
  );
  const [, second] = podMetrics;
  const received = named(second?.metrics, "network_receive_bytes_total");
  assert.deepEqual(received.labelValues, ["", "/kubepods/p1", "", "p1", "prod", "web", "eth0"]);
  assert.equal(received.timestamp, atNs);
  assert.equal(received.metricType, MetricType.COUNTER);
  assert.equal(received.value?.value, (1n << 64n) - 1n);
  assert.equal(named(second?.metrics, "network_transmit_bytes_total").value?.value, 128n);
  const errors = named(second?.metrics, "network_receive_errors_total");
  assert.equal(errors.value?.value, 0n);

  const own = second?.containerMetrics[0]?.metrics;
  const limit = named(own, "spec_memory_limit_bytes");
  assert.equal(limit.metricType, MetricType.GAUGE);
  assert.equal(limit.timestamp, 0n);
  assert.equal(limit.value?.value, 0n);
  const labels = ["käse", "/kubepods/p1/c1", "example.com/web:1", "c1", "prod", "web"];
  assert.deepEqual(limit.labelValues, labels);
  assert.equal(named(own, "spec_cpu_shares").value?.value, 1024n);
});

test("listPodSandboxMetrics() has the figures of each call, and when the container was last seen", async () => {
  const context = contextWith(1);
  const answered = async (): Promise<readonly (bigint | undefined)[]> => {
    const bytes = await listPodSandboxMetrics(context);
    const [pod] = fromBinary(ListPodSandboxMetricsResponseSchema, bytes).podMetrics;
    const own = pod?.containerMetrics[0]?.metrics;
    const threads = own?.find(({ name }) => name === "container_threads");
    return [
      named(own, "last_seen").value?.value,
      threads?.value?.value,
      named(pod?.metrics, "network_transmit_bytes_total").value?.value,
    ];
  };
  const answer = async (seconds: bigint, tasks: bigint, txBytes: bigint): Promise<void> => {
    const last = await context.stats.figures([], []);
    const interfaces = [{ name: "eth0", ...counters, txBytes }];
    const pods = new Map([
      ["p0", { network: { takenAtNs: atNs, interfaces }, reported: undefined }],
    ]);
    const cgroup = { takenAtNs: atNs, devices: [], tasks } as unknown as CgroupFigures;
    const its = { slow: undefined, writableLayer: undefined, cgroup };
    const containers = new Map([["c0", { ...its, seenAtNs: seconds * 1_000_000_000n }]]);
    const next = { ...last, pods, containers };
    Object.assign(context.stats, { figures: () => Promise.resolve(next) });
  };
  await answer(1n, 7n, 100n);
  assert.deepEqual(await answered(), [1n, 7n, 100n]);
  const { containers, pods } = await context.stats.figures([], []);
  const seenAgain = { ...containers.get("c0"), seenAtNs: 2_000_000_000n };
  const again = { pods, containers: new Map([["c0", seenAgain]]), fileSystem: undefined };
  Object.assign(context.stats, { figures: () => Promise.resolve(again) });
  assert.deepEqual(await answered(), [2n, 7n, 100n]);
  await answer(3n, 8n, 200n);
  assert.deepEqual(await answered(), [3n, 8n, 200n]);
});

test("listPodSandboxMetrics() is empty without pods", async () => {
  assert.equal((await listPodSandboxMetrics(contextWith(0))).length, 0);
});

test("streamPodSandboxMetrics() has the same pods in messages of about 1 MiB", async () => {
  // Each of the 15 samples of a pod and its container has the pod's name, so two pods have more than 1 MiB.
  const context = contextWith(5, "x".repeat(40_000));
  const sizes: number[] = [];
  const ids: string[] = [];
  for await (const bytes of streamPodSandboxMetrics(context)) {
    const message = fromBinary(StreamPodSandboxMetricsResponseSchema, bytes);
    ids.push(...message.podSandboxMetrics.map((one) => one.podSandboxId));
    sizes.push(message.podSandboxMetrics.length);
  }
  assert.deepEqual(ids, ["p0", "p1", "p2", "p3", "p4"]);
  assert.deepEqual(sizes, [2, 2, 1]);
  for await (const bytes of streamPodSandboxMetrics(contextWith(0))) assert.fail(String(bytes));
});
