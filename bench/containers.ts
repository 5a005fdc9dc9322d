/** The container of a measured pod, as a kubelet asks for it. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfigSchema,
  ContainerState,
  NamespaceMode,
} from "../src/gen/runtime/v1/api_pb.ts";
import type { RunningPod } from "./pods.ts";
import type { Side } from "./row.ts";
import { timed } from "./statistics.ts";

const memoryLimitBytes = 128n << 20n;

/** A container that was started, and how long its creation and start took. */
export interface Started {
  readonly containerId: string;
  readonly ms: number;
}

/** Options of a container. */
export interface ContainerOptions {
  /** Instead of a sleep. */
  readonly command?: readonly string[];
  /** Clients can attach to its stdin. */
  readonly stdin?: boolean;
  /** It may use all CPUs of its pod. */
  readonly unlimitedCpu?: boolean;
}

/** Makes the directory of the container's log, which a kubelet does before it calls. */
export async function prepareLog(pod: { config: RunningPod["config"] }): Promise<void> {
  await mkdir(path.join(pod.config.logDirectory, "main"), { recursive: true });
}

/** Creates and starts a container, and makes sure that its process runs. */
export async function startContainer(
  side: Side,
  pod: RunningPod,
  image: string,
  options: ContainerOptions = {},
): Promise<Started> {
  await prepareLog(pod);
  const { runtime } = side.server.client;
  const config = containerConfig(image, options);
  let containerId = "";
  const ms = await timed(async () => {
    const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
    ({ containerId } = await runtime.createContainer(request));
    await runtime.startContainer({ containerId });
  });
  const { status } = await runtime.containerStatus({ containerId });
  const state = status?.state;
  assert.equal(state, ContainerState.CONTAINER_RUNNING, `${side.server.name}: ${status?.reason}`);
  return { containerId, ms };
}

/** Makes so many pods with a running container each, some at a time. */
export async function fillWithContainers(
  side: Side,
  count: number,
  image: string,
  runtimeHandler = "",
): Promise<readonly RunningPod[]> {
  const pods = await side.pods.fill(count, runtimeHandler);
  const left = [...pods];
  const worker = async (): Promise<void> => {
    for (let pod = left.pop(); pod !== undefined; pod = left.pop()) {
      await startContainer(side, pod, image);
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  return pods;
}

function containerConfig(
  image: string,
  options: ContainerOptions,
): MessageInitShape<typeof ContainerConfigSchema> {
  const quota = { cpuPeriod: 100_000n, cpuQuota: 50_000n };
  return {
    metadata: { name: "main" },
    image: { image },
    command: [...(options.command ?? ["/bin/busybox", "sleep", "3600"])],
    stdin: options.stdin ?? false,
    logPath: "main/0.log",
    linux: {
      resources: {
        cpuShares: 256n,
        ...(options.unlimitedCpu === true ? {} : quota),
        memoryLimitInBytes: memoryLimitBytes,
      },
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    },
  };
}
