import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import * as containers from "../../engine/container/index.ts";
import {
  ContainerConfigSchema,
  type ContainerStatusRequest,
  type ContainerStatusResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criContainerStatus } from "../convert/container-status.ts";
import { goJson } from "../convert/go-json.ts";

/** The status of a container; verbose adds containerd's keys as one JSON text. */
export async function containerStatus(
  context: CriContext,
  { containerId, verbose }: ContainerStatusRequest,
): Promise<MessageInitShape<typeof ContainerStatusResponseSchema>> {
  const { container, info } = await containers.containerStatus(
    context.containers,
    containerId,
    verbose,
  );
  return {
    status: criContainerStatus(container),
    info: info === undefined ? {} : { info: encodeInfo(container, info) },
  };
}

function encodeInfo(
  container: Container,
  { sandbox, spec, pausedAtNs, history, oomKills, deniedCalls }: containers.ContainerInfo,
): string {
  return JSON.stringify({
    sandboxID: container.sandboxId,
    pid: container.state.name === "running" ? container.state.process.pid : 0,
    removing: false,
    // Nanoseconds since 1970, as a text, since they exceed the numbers of JSON.
    ...(pausedAtNs !== undefined && { paused: true, pausedAt: pausedAtNs.toString() }),
    snapshotKey: container.id,
    snapshotter: "overlay",
    runtimeType: sandbox?.handler.runtimeType ?? sandbox?.handler.path ?? "",
    runtimeOptions: null,
    config: goJson(ContainerConfigSchema, container.config),
    runtimeSpec: spec,
    history,
    oomKills,
    deniedCalls,
  });
}
