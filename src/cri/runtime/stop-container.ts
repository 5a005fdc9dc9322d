import * as containers from "../../engine/container/index.ts";
import type { StopContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** StopContainer: stops a container with a grace period. Not an error when it is not running. */
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
