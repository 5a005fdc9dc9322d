import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";

import { type Metric, MetricSchema } from "../../../gen/containerd/types/metrics_pb.ts";
import { MetricsSchema as LegacySchema } from "../../../gen/io/containerd/cgroups/v1/metrics_pb.ts";
import { MetricsSchema as UnifiedSchema } from "../../../gen/io/containerd/cgroups/v2/metrics_pb.ts";
import { usageOfMetric } from "./metrics.ts";

const nowNs = 1_700_000_000_000_000_000n;

function metric(typeUrl: string, value: Uint8Array, seconds = 1_699_999_999n): Metric {
  const data = create(AnySchema, { typeUrl, value });
  return create(MetricSchema, { data, timestamp: { seconds, nanos: 5 } });
}

function unified(message: MessageInitShape<typeof UnifiedSchema>, seconds?: bigint): Metric {
  const value = toBinary(UnifiedSchema, create(UnifiedSchema, message));
  return metric(UnifiedSchema.typeName, value, seconds);
}

void test("a metric of cgroup v2 reports processor, memory and tasks, with its own time", () => {
  const memory = { usage: 100n, inactiveFile: 30n, usageLimit: 500n, anon: 40n, pgfault: 7n };
  const metricV2 = unified({ cpu: { usageUsec: 3n }, memory, pids: { current: 9n } });
  assert.deepEqual(usageOfMetric(metricV2, nowNs), {
    takenAtNs: 1_699_999_999_000_000_005n,
    cpuNs: 3_000n,
    memory: {
      usage: 100n,
      workingSet: 70n,
      available: 430n,
      rss: 40n,
      pageFaults: 7n,
      majorPageFaults: undefined,
      pressure: undefined,
    },
    tasks: 9n,
  });
});

void test("a metric of cgroup v1 reports the same, by a type URL with a host", () => {
  const memory = {
    usage: { usage: 100n, limit: 2n ** 63n },
    totalInactiveFile: 30n,
    totalRss: 40n,
  };
  const message = create(LegacySchema, { cpu: { usage: { total: 3n } }, memory });
  const url = `type.googleapis.com/${LegacySchema.typeName}`;
  const usage = usageOfMetric(metric(url, toBinary(LegacySchema, message)), nowNs);
  assert.equal(usage?.cpuNs, 3n);
  assert.equal(usage.memory?.workingSet, 70n);
  assert.equal(usage.memory.available, undefined);
  assert.equal(usage.memory.rss, 40n);
  assert.equal(usage.tasks, undefined);
});

void test("an empty metric is ignored, and so are zeroes", () => {
  assert.equal(usageOfMetric(undefined, nowNs), undefined);
  assert.equal(usageOfMetric(create(MetricSchema, {}), nowNs), undefined);
  assert.equal(usageOfMetric(metric("", new Uint8Array()), nowNs), undefined);
  assert.equal(usageOfMetric(unified({}), nowNs), undefined);
  assert.equal(usageOfMetric(unified({ cpu: {}, memory: {}, pids: {} }), nowNs), undefined);
});

void test("a time that does not match the host's clock is replaced", () => {
  for (const seconds of [0n, -62_135_596_800n, 1_700_000_001n, 1_699_990_000n]) {
    const usage = usageOfMetric(unified({ cpu: { usageUsec: 1n } }, seconds), nowNs);
    assert.equal(usage?.takenAtNs, nowNs);
  }
});

void test("a metric that cannot be decoded is refused", () => {
  const garbage = Uint8Array.of(0xff, 0xff, 0xff);
  assert.throws(
    () => usageOfMetric(metric("example.org/Stats", garbage), nowNs),
    /type is "Stats"/,
  );
  assert.throws(
    () => usageOfMetric(metric(UnifiedSchema.typeName, garbage), nowNs),
    /invalid io\.containerd/,
  );
});
