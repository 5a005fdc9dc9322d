import { create, toBinary } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { MetricDescriptor, PodMetrics } from "../../engine/stats/metrics/index.ts";
import { MetricDescriptorSchema } from "../../gen/runtime/v1/api_pb.ts";
import { keptFields, messageField } from "./fields.ts";
import { FieldWriter } from "./field-writer.ts";
import { nestedSize, objectLabels, SampleBlock } from "./sample-block.ts";

// Field numbers of api.proto, with wire type 2 (length-delimited).
const tag = { pods: (1 << 3) | 2, containers: (3 << 3) | 2 } as const;

/** A pod or container: what is encoded once, and its samples. */
interface EncodedObject {
  /** Field 1 of its message. */
  readonly id: Uint8Array;
  readonly samples: SampleBlock;
  /** Those that differ in each answer; pods have none. */
  readonly current: SampleBlock;
  /** The bytes of the samples, and the values that they were made from. */
  known: { readonly sources: readonly unknown[]; readonly bytes: Uint8Array } | undefined;
}

const knownObjects = new WeakMap<Container["config"] | Sandbox["config"], EncodedObject>();

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

/** Prepares the element for a pod. When it is written later, newer values may have taken the place of its own. */
export function preparedPod(pod: PodMetrics): PreparedPod {
  const object = objectOfPod(pod.sandbox);
  const own = encodedSamples(object, pod);
  const inner = pod.containers.map((one) => {
    const its = objectOf(one.container, pod.sandbox);
    const fields = [its.id, encodedSamples(its, one), its.current.encode(one.addCurrent)];
    return { fields, size: fields.reduce((sum, { length }) => sum + length, 0) };
  });
  const ownSize = object.id.length + own.length;
  const size = inner.reduce((sum, one) => sum + nestedSize(one.size), ownSize);
  return {
    bytes: nestedSize(size),
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
  { sources, addSamples }: Pick<PodMetrics, "sources" | "addSamples">,
): Uint8Array {
  const { known } = object;
  if (known?.sources.every((source, at) => source === sources[at]) === true) return known.bytes;
  const bytes = object.samples.encode(addSamples);
  object.known = { sources, bytes };
  return bytes;
}

/** Both the list and each message of the stream have pods in field 1. */
export function encodedPods(pods: readonly PreparedPod[]): Uint8Array {
  const writer = new FieldWriter(pods.reduce((sum, { bytes }) => sum + bytes, 0));
  for (const pod of pods) pod.write(writer);
  return writer.finish();
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

type Labels = Parameters<typeof objectLabels>[0];

function podOf({ config: { metadata } }: Sandbox): Pick<Labels, "namespace" | "pod"> {
  return { namespace: metadata?.namespace ?? "", pod: metadata?.name ?? "" };
}

function encodedObject(id: string, labels: Labels): EncodedObject {
  const common = objectLabels(labels);
  return {
    id: keptFields([messageField(1, Buffer.from(id))]),
    samples: new SampleBlock(common),
    current: new SampleBlock(common),
    known: undefined,
  };
}
