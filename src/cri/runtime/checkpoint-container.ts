import type { CheckpointContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** CheckpointContainer: writes a checkpoint of a running container to a new file. */
export async function checkpointContainer(
  context: CriContext,
  { containerId, location, timeout }: CheckpointContainerRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  // Most nodes make no checkpoints: their code is loaded with the first one.
  const { checkpointContainer: checkpoint } = await import("../../engine/checkpoint/index.ts");
  const request = { containerId, location, timeoutSeconds: timeout, deadlineMs: call.deadline };
  await checkpoint(context.containers, request, call.signal);
  return {};
}
