import { create, toBinary } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  type ContainerMetrics,
  type MetricDescriptor,
  objectLabelKeys,
  type PodMetrics,
  type Sample,
} from "../../engine/stats/metrics/index.ts";
import { MetricDescriptorSchema } from "../../gen/runtime/v1/api_pb.ts";
import { joinFields, keptFields, messageField } from "./fields.ts";
import { FieldWriter, sizeOfVarint } from "./field-writer.ts";

// Field numbers of api.proto, with wire type 2 (length-delimited) or 0 (varint). A node with 200 pods has 12,000
// samples of 400 bytes, mostly labels. So a name is encoded once, and the labels of an object are encoded once.
const tag = {
  metrics: (2 << 3) | 2,
  name: (1 << 3) | 2,
  timestamp: 2 << 3,
  type: 3 << 3,
  labelValues: (4 << 3) | 2,
  value: (5 << 3) | 2,
  number: 1 << 3,
} as const;
const gauge = 1;

type Labels = Readonly<Record<(typeof objectLabelKeys)[number], string>>;

const names = new WeakMap<MetricDescriptor, Uint8Array>();
const containerLabels = new WeakMap<Container["config"], Uint8Array>();
const podLabels = new WeakMap<Sandbox["config"], Uint8Array>();

/** A MetricDescriptor message. */
export function encodedDescriptor({ name, help, labelKeys }: MetricDescriptor): Uint8Array {
  const message = create(MetricDescriptorSchema, { name, help, labelKeys: [...labelKeys] });
  return toBinary(MetricDescriptorSchema, message);
}

/** A PodSandboxMetrics message, with the metrics of the pod's containers. */
export function encodedPodMetrics({ sandbox, samples, containers }: PodMetrics): Uint8Array {
  return joinFields([
    messageField(1, Buffer.from(sandbox.id)),
    encodedSamples(samples(), labelsOfPod(sandbox)),
    ...containers.map((one) => messageField(3, encodedContainer(sandbox, one))),
  ]);
}

/** A ContainerMetrics message. */
function encodedContainer(sandbox: Sandbox, { container, samples }: ContainerMetrics): Uint8Array {
  return joinFields([
    messageField(1, Buffer.from(container.id)),
    encodedSamples(samples(), labelsOf(container, sandbox)),
  ]);
}

/** Samples as Metric messages, which are field 2 of a pod and of a container. */
function encodedSamples(samples: readonly Sample[], objectLabels: Uint8Array): Uint8Array {
  const writer = new FieldWriter(samples.length * (objectLabels.length + 128));
  for (const sample of samples) writeSample(writer, sample, objectLabels);
  return writer.finish();
}

function writeSample(writer: FieldWriter, sample: Sample, objectLabels: Uint8Array): void {
  const { metric, labels, value, atNs } = sample;
  const name = nameOf(metric);
  const ownLabels = labels.length === 0 ? undefined : joinFields(labels.map(labelField));
  // Absent fields of proto3 are 0; the message of the value is always there, because kubelet reads it unchecked.
  const valueSize = value === 0n ? 0 : 1 + sizeOfVarint(value);
  const size =
    name.length +
    (atNs === 0n ? 0 : 1 + sizeOfVarint(atNs)) +
    (metric.type === "gauge" ? 2 : 0) +
    objectLabels.length +
    (ownLabels?.length ?? 0) +
    2 +
    valueSize;
  writer.reserve(size + 8);
  writer.byte(tag.metrics).length(size).bytes(name);
  if (atNs !== 0n) writer.byte(tag.timestamp).varint(atNs);
  if (metric.type === "gauge") writer.byte(tag.type).byte(gauge);
  writer.bytes(objectLabels);
  if (ownLabels !== undefined) writer.bytes(ownLabels);
  writer.byte(tag.value).length(valueSize);
  if (value !== 0n) writer.byte(tag.number).varint(value);
}

function nameOf(metric: MetricDescriptor): Uint8Array {
  const known = names.get(metric);
  if (known !== undefined) return known;
  const bytes = keptFields([messageField(tag.name >> 3, Buffer.from(metric.name))]);
  names.set(metric, bytes);
  return bytes;
}

function labelsOf({ id, config, cgroupPath, image }: Container, sandbox: Sandbox): Uint8Array {
  const known = containerLabels.get(config);
  if (known !== undefined) return known;
  const bytes = encodedLabels({
    container: config.metadata?.name ?? "",
    id: cgroupPath,
    image: image.shown,
    name: id,
    ...podOf(sandbox),
  });
  containerLabels.set(config, bytes);
  return bytes;
}

/** Without a container and an image, as those of pods are with cAdvisor and containerd. */
function labelsOfPod(sandbox: Sandbox): Uint8Array {
  const known = podLabels.get(sandbox.config);
  if (known !== undefined) return known;
  const { id, cgroup } = sandbox;
  const bytes = encodedLabels({
    container: "",
    id: cgroup?.parent ?? "",
    image: "",
    name: id,
    ...podOf(sandbox),
  });
  podLabels.set(sandbox.config, bytes);
  return bytes;
}

function podOf({ config: { metadata } }: Sandbox): Pick<Labels, "namespace" | "pod"> {
  return { namespace: metadata?.namespace ?? "", pod: metadata?.name ?? "" };
}

function encodedLabels(labels: Labels): Uint8Array {
  return keptFields(objectLabelKeys.map((key) => labelField(labels[key])));
}

function labelField(value: string): Uint8Array {
  return messageField(tag.labelValues >> 3, Buffer.from(value));
}
