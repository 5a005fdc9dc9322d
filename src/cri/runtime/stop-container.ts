import * as containers from "../../engine/container/index.ts";
import type { StopContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Stops a container with a grace period. No error when there is nothing to stop. */
export async function stopContainer(
  context: CriContext,
  request: StopContainerRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await containers.stopContainer(
    context.containers,
    request.containerId,
    request.timeout,
    call.signal,
  );
  return {};
}
