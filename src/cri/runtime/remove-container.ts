import * as containers from "../../engine/container/index.ts";
import type { RemoveContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** RemoveContainer: removes a container and kills it first if it is running. Not an error when it does not exist. */
export async function removeContainer(
  context: CriContext,
  request: RemoveContainerRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await containers.removeContainer(context.containers, request.containerId, call.signal);
  return {};
}
