import * as containers from "../../engine/container/index.ts";
import type { RemoveContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Removes a container, ending it first where it runs. No error when it is not there. */
export async function removeContainer(
  context: CriContext,
  request: RemoveContainerRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await containers.removeContainer(context.containers, request.containerId, call.signal);
  return {};
}
