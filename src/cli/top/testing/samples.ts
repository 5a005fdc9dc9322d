// Samples of a node for tests.
import { create } from "@bufbuild/protobuf";
import {
  type Container,
  ContainerSchema,
  ContainerState,
  type ContainerStats,
  ContainerStatsSchema,
  type ContainerStatus,
  ContainerStatusSchema,
  type PodSandbox,
  PodSandboxSchema,
  PodSandboxState,
} from "../../../gen/runtime/v1/api_pb.ts";
import type { NodeStatus } from "../node-status.ts";
import type { Sample } from "../sample.ts";

/** The time of the samples, in milliseconds since 1970. */
export const nowMs = 1_800_000_000_000;
const minute = 60_000;

function nsBefore(ms: number): bigint {
  return BigInt(nowMs - ms) * 1_000_000n;
}

/** A pod, two hours old, with the path NAMESPACE/NAME. */
export function pod(
  id: string,
  path: string,
  { state = PodSandboxState.SANDBOX_READY }: { readonly state?: PodSandboxState } = {},
): PodSandbox {
  const [namespace = "", name = ""] = path.split("/");
  const metadata = { name, namespace, uid: id };
  const createdAt = nsBefore(120 * minute);
  return create(PodSandboxSchema, { id, metadata, state, createdAt });
}

/** A container, an hour old, whose name is its id. */
export function container(
  id: string,
  podSandboxId: string,
  options: { readonly attempt?: number; readonly state?: ContainerState } = {},
): Container {
  const { attempt = 0, state = ContainerState.CONTAINER_RUNNING } = options;
  const metadata = { name: id, attempt };
  const createdAt = nsBefore(60 * minute);
  return create(ContainerSchema, { id, podSandboxId, metadata, state, createdAt });
}

/** The status of a container that has exited two minutes ago. */
export function end(exitCode: number): ContainerStatus {
  return create(ContainerStatusSchema, { exitCode, finishedAt: nsBefore(2 * minute) });
}

/** The statistics of a container: CPU milliseconds used until `atMs`, and megabytes of memory. */
export function stats(
  id: string,
  values: { cpuMs: number; atMs?: number; memory?: number; limit?: number },
): ContainerStats {
  const { cpuMs, atMs = nowMs, memory, limit } = values;
  const mega = (value: number): { value: bigint } => ({ value: BigInt(value * 1e6) });
  return create(ContainerStatsSchema, {
    attributes: { id },
    cpu: {
      timestamp: BigInt(atMs) * 1_000_000n,
      usageCoreNanoSeconds: { value: BigInt(cpuMs) * 1_000_000n },
    },
    memory: {
      ...(memory === undefined ? {} : { workingSetBytes: mega(memory) }),
      ...(memory === undefined || limit === undefined
        ? {}
        : { availableBytes: mega(limit - memory) }),
    },
  });
}

/** The status of a davit node with nothing in progress. */
export const quietNode: NodeStatus = {
  ready: true,
  networkReady: true,
  reason: "",
  activity: { inflight: [], failures: [], pulls: new Map() },
};

/** A sample of an empty node, with these changes. */
export function sample(changes: Partial<Sample> = {}): Sample {
  return {
    atMs: nowMs,
    pods: [],
    containers: [],
    stats: [],
    node: quietNode,
    ends: new Map(),
    paused: new Set(),
    network: new Map(),
    imageBytes: 61e9,
    ...changes,
  };
}
