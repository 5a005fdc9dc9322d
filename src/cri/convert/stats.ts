import { create, toBinary } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerStats } from "../../core/stats/index.ts";
import type { MeasuredContainer, MeasuredPod } from "../../engine/stats/index.ts";
import {
  ContainerAttributesSchema,
  ContainerStatsSchema,
  LinuxPodSandboxStatsSchema,
  PodSandboxAttributesSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { joinFields, keptFields, messageField } from "./fields.ts";
import { criCpu, criIo, criLayer, criMemory, criNetwork, criSwap } from "./stats-resources.ts";

/** The number of objects in a message of a stream. With 2 KiB each it is far below every limit. */
export const statsBatch = 1000;

const attributes = new WeakMap<Container["config"], Uint8Array>();
const podAttributes = new WeakMap<Sandbox["config"], Uint8Array>();
const encoded = new WeakMap<ContainerStats, Uint8Array>();

/** A ContainerStats message. Encoded once for each sample. Unknown values are absent. */
export function encodedContainerStats({ container, stats }: MeasuredContainer): Uint8Array {
  const known = encoded.get(stats);
  if (known !== undefined) return known;
  const { resources, writableLayer } = stats;
  const atNs = resources?.takenAtNs ?? 0n;
  const { cpu, memory, swap, ioPressure } = resources ?? {};
  const usage = create(ContainerStatsSchema, {
    ...(cpu && { cpu: criCpu(atNs, cpu) }),
    ...(memory && { memory: criMemory(atNs, memory) }),
    ...(swap && { swap: criSwap(atNs, swap) }),
    ...(ioPressure && { io: criIo(atNs, ioPressure) }),
    ...(writableLayer && { writableLayer: criLayer(writableLayer) }),
  });
  const bytes = keptFields([containerAttributes(container), toBinary(ContainerStatsSchema, usage)]);
  encoded.set(stats, bytes);
  return bytes;
}

/** A PodSandboxStats message, with the stats of the pod's containers. */
export function encodedPodStats({ sandbox, stats, containers }: MeasuredPod): Uint8Array {
  const { resources, network } = stats;
  const atNs = resources?.takenAtNs ?? 0n;
  const { cpu, memory, ioPressure, tasks } = resources ?? {};
  const netUsage = network && criNetwork(network);
  const linux = create(LinuxPodSandboxStatsSchema, {
    ...(cpu && { cpu: criCpu(atNs, cpu) }),
    ...(memory && { memory: criMemory(atNs, memory) }),
    ...(netUsage && { network: netUsage }),
    ...(tasks !== undefined && { process: { timestamp: atNs, processCount: { value: tasks } } }),
    ...(ioPressure && { io: criIo(atNs, ioPressure) }),
  });
  // Field 5 of LinuxPodSandboxStats is its containers, field 2 of PodSandboxStats is `linux`.
  const fields = containers.map((measured) => messageField(5, encodedContainerStats(measured)));
  return joinFields([
    sandboxAttributes(sandbox),
    messageField(2, joinFields([toBinary(LinuxPodSandboxStatsSchema, linux), ...fields])),
  ]);
}

/** Field 1 of ContainerStats. */
function containerAttributes({ id, config }: Container): Uint8Array {
  const known = attributes.get(config);
  if (known !== undefined) return known;
  const { metadata, labels, annotations } = config;
  const message = create(ContainerAttributesSchema, {
    id,
    ...(metadata && { metadata }),
    labels,
    annotations,
  });
  const bytes = messageField(1, toBinary(ContainerAttributesSchema, message));
  attributes.set(config, bytes);
  return bytes;
}

/** Field 1 of PodSandboxStats. */
function sandboxAttributes({ id, config }: Sandbox): Uint8Array {
  const known = podAttributes.get(config);
  if (known !== undefined) return known;
  const { metadata, labels, annotations } = config;
  const message = create(PodSandboxAttributesSchema, {
    id,
    ...(metadata && { metadata }),
    labels,
    annotations,
  });
  const bytes = messageField(1, toBinary(PodSandboxAttributesSchema, message));
  podAttributes.set(config, bytes);
  return bytes;
}
