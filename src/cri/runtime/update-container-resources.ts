import * as containers from "../../engine/container/index.ts";
import type { UpdateContainerResourcesRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/**
 * UpdateContainerResources: changes the resources of a created or running container. The annotations of
 * the request are ignored: NRI has no message for them.
 */
export async function updateContainerResources(
  context: CriContext,
  request: UpdateContainerResourcesRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await containers.updateContainerResources(context.containers, request, call.signal);
  return {};
}
