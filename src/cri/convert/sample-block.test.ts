import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { test } from "node:test";

import type { AddSample, MetricDescriptor } from "../../engine/stats/metrics/index.ts";
import { ContainerMetricsSchema, type Metric } from "../../gen/runtime/v1/api_pb.ts";
import { objectLabels, SampleBlock } from "./sample-block.ts";

const described = (name: string, type: MetricDescriptor["type"]): MetricDescriptor => ({
  name,
  type,
  help: "Help.",
  labelKeys: [],
});
const bytesRead = described("container_fs_reads_bytes_total", "counter");
const threads = described("container_threads", "gauge");
const limit = described("container_spec_memory_limit_bytes", "gauge");
const labels = objectLabels({
  container: "main",
  id: "/kubepods/käse",
  image: "",
  name: "c1",
  namespace: "prod",
  pod: "web",
});
const at = 1_796_079_391_123_456_789n;

type Line = readonly [MetricDescriptor, readonly string[], value: bigint, atNs: bigint];

/** Encodes the samples, and decodes them: name, own labels, value, time. */
function decoded(block: SampleBlock, lines: readonly Line[]): readonly (readonly unknown[])[] {
  const addSamples = (add: AddSample): void => {
    for (const line of lines) add(...line);
  };
  const { metrics } = fromBinary(ContainerMetricsSchema, block.encode(addSamples));
  return metrics.map((metric: Metric) => {
    const { name, labelValues, value, timestamp, metricType } = metric;
    assert.deepEqual(labelValues.slice(0, 6), ["main", "/kubepods/käse", "", "c1", "prod", "web"]);
    assert.ok(value !== undefined, "kubelet needs the message also of a 0");
    const type = metricType === 1 ? "gauge" : "counter";
    return [name, type, labelValues.slice(6), value.value, timestamp];
  });
}

const expected = (lines: readonly Line[]): readonly (readonly unknown[])[] =>
  lines.map(([{ name, type }, own, value, atNs]) => [name, type, own, value, atNs]);

test("SampleBlock writes new times and values into the bytes of the last reading", () => {
  const block = new SampleBlock(labels);
  const reading = (bytes: bigint, tasks: bigint, atNs: bigint): readonly Line[] => [
    [limit, [], 0n, 0n],
    [bytesRead, ["/dev/sda"], bytes, atNs],
    [threads, [], tasks, atNs],
  ];
  const first = reading(1000n, 3n, at);
  assert.deepEqual(decoded(block, first), expected(first));
  const bytes = block.encode(adding(first));
  const next = reading(16_383n, 127n, at + 5_000_000_000n);
  assert.deepEqual(decoded(block, next), expected(next));
  assert.equal(block.encode(adding(next)), bytes, "the same memory");
});

test("SampleBlock makes its bytes again when something needs another size or is another sample", () => {
  const readings: readonly (readonly Line[])[] = [
    [],
    [[threads, [], 127n, at]],
    [[threads, [], 128n, at]],
    [[threads, [], 0n, at]],
    [[threads, [], (1n << 64n) - 1n, at]],
    [[threads, [], (1n << 53n) + 1n, at]],
    [[threads, [], (1n << 63n) + 1n, at]],
    [[threads, [], 5n, 0n]],
    [[threads, [], 5n, at]],
    [[limit, [], 5n, at]],
    [[bytesRead, ["a"], 5n, at]],
    [[bytesRead, ["b"], 5n, at]],
    [
      [bytesRead, ["b"], 6n, at],
      [bytesRead, ["c"], 7n, at],
    ],
    [[bytesRead, ["b", "c"], 7n, at]],
    [[bytesRead, ["b", "d"], 7n, at]],
    [],
  ];
  const block = new SampleBlock(labels);
  for (const lines of readings) assert.deepEqual(decoded(block, lines), expected(lines));
});

test("SampleBlock leaves the size of bytes that it has given away", () => {
  const block = new SampleBlock(labels);
  const given = block.encode(adding([[threads, [], 7n, at]]));
  block.encode(adding([[threads, [], 300n, at]]));
  const { metrics } = fromBinary(ContainerMetricsSchema, given);
  assert.equal(metrics[0]?.value?.value, 7n);
});

function adding(lines: readonly Line[]): (add: AddSample) => void {
  return (add) => {
    for (const line of lines) add(...line);
  };
}
