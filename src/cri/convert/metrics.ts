import { create, toBinary } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import {
  type MetricDescriptor,
  objectLabelKeys,
  type PodMetrics,
  type Sample,
} from "../../engine/stats/metrics/index.ts";
import { MetricDescriptorSchema } from "../../gen/runtime/v1/api_pb.ts";
import { keptFields, messageField } from "./fields.ts";
import { FieldWriter, sizeOfLength, sizeOfVarint } from "./field-writer.ts";

// Field numbers of api.proto, with wire type 2 (length-delimited) or 0 (varint). A node with 200 pods has 12,000
// samples of 400 bytes, mostly labels. So a name is encoded once, and the labels of an object are encoded once.
const tag = {
  pods: (1 << 3) | 2,
  metrics: (2 << 3) | 2,
  containers: (3 << 3) | 2,
  name: (1 << 3) | 2,
  timestamp: 2 << 3,
  type: 3 << 3,
  labelValues: (4 << 3) | 2,
  value: (5 << 3) | 2,
  number: 1 << 3,
} as const;
const gauge = 1;

/** What all samples of a pod or container have, encoded once. */
interface EncodedObject {
  /** Field 1 of its message. */
  readonly id: Uint8Array;
  readonly labels: Uint8Array;
}

type Labels = Readonly<Record<(typeof objectLabelKeys)[number], string>>;

/** Interfaces have names that containers choose. */
const maxOwnLabels = 1024;
const ownLabels = new Map<string, Uint8Array>();
const names = new WeakMap<MetricDescriptor, Uint8Array>();
const knownObjects = new WeakMap<Container["config"] | Sandbox["config"], EncodedObject>();

/** Encoded samples, and the values that they were made from. */
interface KnownSamples {
  readonly sources: readonly unknown[];
  readonly bytes: Uint8Array;
}

// Figures are read again after seconds. Between, the samples of an object are encoded once: 13 KiB of a container.
const knownSamples = new WeakMap<EncodedObject, KnownSamples>();

/** A MetricDescriptor message. */
export function encodedDescriptor({ name, help, labelKeys }: MetricDescriptor): Uint8Array {
  const message = create(MetricDescriptorSchema, { name, help, labelKeys: [...labelKeys] });
  return toBinary(MetricDescriptorSchema, message);
}

/** A PodSandboxMetrics message with the metrics of the pod's containers, ready to be written. */
export interface PreparedPod {
  /** The size as an element of field 1. */
  readonly bytes: number;
  readonly write: (writer: FieldWriter) => void;
}

/** Prepares the element for a pod. */
export function preparedPod({ sandbox, sources, samples, containers }: PodMetrics): PreparedPod {
  const object = objectOfPod(sandbox);
  const own = encodedSamples(object, { sources, samples });
  const inner = containers.map((one) => {
    const its = objectOf(one.container, sandbox);
    const fields = [its.id, encodedSamples(its, one), encodedBlock(one.current(), its.labels)];
    return { fields, size: fields.reduce((sum, { length }) => sum + length, 0) };
  });
  const ownSize = object.id.length + own.length;
  const size = inner.reduce((sum, one) => sum + nested(one.size), ownSize);
  return {
    bytes: nested(size),
    write: (writer) => {
      writer.byte(tag.pods).length(size).bytes(object.id).bytes(own);
      for (const one of inner) {
        writer.byte(tag.containers).length(one.size);
        for (const field of one.fields) writer.bytes(field);
      }
    },
  };
}

/** The samples of an object; the same bytes until one of their sources is another value. */
function encodedSamples(
  object: EncodedObject,
  { sources, samples }: Pick<PodMetrics, "sources" | "samples">,
): Uint8Array {
  const known = knownSamples.get(object);
  if (known?.sources.every((source, at) => source === sources[at]) === true) return known.bytes;
  const bytes = encodedBlock(samples(), object.labels);
  knownSamples.set(object, { sources, bytes });
  return bytes;
}

function encodedBlock(samples: readonly Sample[], objectLabels: Uint8Array): Uint8Array {
  const block = blockOf(samples, objectLabels);
  const writer = new FieldWriter(block.bytes);
  writeBlock(writer, block);
  return writer.finish();
}

/** Both the list and each message of the stream have pods in field 1. */
export function encodedPods(pods: readonly PreparedPod[]): Uint8Array {
  const writer = new FieldWriter(pods.reduce((sum, { bytes }) => sum + bytes, 0));
  for (const pod of pods) pod.write(writer);
  return writer.finish();
}

/** Samples as Metric messages, which are field 2 of a pod and of a container. */
interface Block {
  readonly samples: readonly Sample[];
  readonly objectLabels: Uint8Array;
  /** The size of each Metric message, and of all fields together. */
  readonly sizes: readonly number[];
  readonly bytes: number;
}

function blockOf(samples: readonly Sample[], objectLabels: Uint8Array): Block {
  const sizes = samples.map((sample) => sizeOfSample(sample) + objectLabels.length);
  const bytes = sizes.reduce((sum, size) => sum + nested(size), 0);
  return { samples, objectLabels, sizes, bytes };
}

/** The size of a nested message with its tag and length. */
function nested(size: number): number {
  return 1 + sizeOfLength(size) + size;
}

function sizeOfSample({ metric, labels, value, atNs }: Sample): number {
  let size = nameOf(metric).length + 2 + sizeOfValue(value) + timeOf(atNs).length;
  if (metric.type === "gauge") size += 2;
  for (const label of labels) size += ownLabel(label).length;
  return size;
}

function sizeOfValue(value: bigint): number {
  return value === 0n ? 0 : 1 + sizeOfVarint(value);
}

function writeBlock(writer: FieldWriter, { samples, sizes, objectLabels }: Block): void {
  for (const [index, { metric, labels, value, atNs }] of samples.entries()) {
    writer
      .byte(tag.metrics)
      .length(sizes[index] ?? 0)
      .bytes(nameOf(metric))
      .bytes(timeOf(atNs));
    if (metric.type === "gauge") writer.byte(tag.type).byte(gauge);
    writer.bytes(objectLabels);
    for (const label of labels) writer.bytes(ownLabel(label));
    // A zero is absent in proto3, but its message is not: kubelet reads it without checking that it exists.
    writer.byte(tag.value).length(sizeOfValue(value));
    if (value !== 0n) writer.byte(tag.number).varint(value);
  }
}

const noTime: Uint8Array = new Uint8Array();
let lastTime: { readonly atNs: bigint; readonly field: Uint8Array } = { atNs: 0n, field: noTime };

/** The timestamp field; absent for 0. Samples that were read together follow each other. */
function timeOf(atNs: bigint): Uint8Array {
  if (atNs === 0n) return noTime;
  if (lastTime.atNs !== atNs) {
    const writer = new FieldWriter(1 + sizeOfVarint(atNs)).byte(tag.timestamp).varint(atNs);
    lastTime = { atNs, field: writer.finish() };
  }
  return lastTime.field;
}

/** The values of own labels repeat: operations, devices, interfaces. */
function ownLabel(value: string): Uint8Array {
  const known = ownLabels.get(value);
  if (known !== undefined) return known;
  if (ownLabels.size === maxOwnLabels) ownLabels.clear();
  const bytes = keptFields([labelField(value)]);
  ownLabels.set(value, bytes);
  return bytes;
}

function nameOf(metric: MetricDescriptor): Uint8Array {
  const known = names.get(metric);
  if (known !== undefined) return known;
  const bytes = keptFields([messageField(tag.name >> 3, Buffer.from(metric.name))]);
  names.set(metric, bytes);
  return bytes;
}

function objectOf({ id, config, cgroupPath, image }: Container, sandbox: Sandbox): EncodedObject {
  const known = knownObjects.get(config);
  if (known !== undefined) return known;
  const object = encodedObject(id, {
    container: config.metadata?.name ?? "",
    id: cgroupPath,
    image: image.shown,
    name: id,
    ...podOf(sandbox),
  });
  knownObjects.set(config, object);
  return object;
}

/** Without a container and an image, as those of pods are with cAdvisor and containerd. */
function objectOfPod(sandbox: Sandbox): EncodedObject {
  const known = knownObjects.get(sandbox.config);
  if (known !== undefined) return known;
  const { id, cgroup } = sandbox;
  const object = encodedObject(id, {
    container: "",
    id: cgroup?.parent ?? "",
    image: "",
    name: id,
    ...podOf(sandbox),
  });
  knownObjects.set(sandbox.config, object);
  return object;
}

function podOf({ config: { metadata } }: Sandbox): Pick<Labels, "namespace" | "pod"> {
  return { namespace: metadata?.namespace ?? "", pod: metadata?.name ?? "" };
}

function encodedObject(id: string, labels: Labels): EncodedObject {
  return {
    id: keptFields([messageField(1, Buffer.from(id))]),
    labels: keptFields(objectLabelKeys.map((key) => labelField(labels[key]))),
  };
}

function labelField(value: string): Uint8Array {
  return messageField(tag.labelValues >> 3, Buffer.from(value));
}
