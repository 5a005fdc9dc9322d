import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import {
  ContainerConfigSchema,
  type ContainerStatusRequest,
  type ContainerStatusResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { runtimeOf } from "../../engine/container/index.ts";
import { criContainerStatus } from "../convert/container-status.ts";
import { goJson } from "../convert/go-json.ts";

/** How a container is, from memory; verbose adds containerd's keys as one JSON text. */
export async function containerStatus(
  context: CriContext,
  request: ContainerStatusRequest,
): Promise<MessageInitShape<typeof ContainerStatusResponseSchema>> {
  const container = context.containers.store.resolve(request.containerId);
  return {
    status: criContainerStatus(container),
    info: request.verbose ? { info: await verboseInfo(context, container) } : {},
  };
}

async function verboseInfo(context: CriContext, container: Container): Promise<string> {
  const sandbox = context.containers.sandboxes.peek(container.sandboxId);
  return JSON.stringify({
    sandboxID: container.sandboxId,
    pid: container.state.name === "running" ? container.state.process.pid : 0,
    removing: false,
    snapshotKey: container.id,
    snapshotter: "overlay",
    runtimeType: sandbox?.handler.runtimeType ?? sandbox?.handler.path ?? "",
    runtimeOptions: null,
    config: goJson(ContainerConfigSchema, container.config),
    runtimeSpec: await specOf(context, container),
    history: context.containers.operations.history.of(container.id),
  });
}

/** The spec that it was started with; null before that, and when its bundle is lost or damaged. */
async function specOf({ containers }: CriContext, container: Container): Promise<unknown> {
  try {
    return (await runtimeOf(containers, container).spec(container.id)) ?? null;
  } catch {
    return null;
  }
}
