import * as containers from "../../engine/container/index.ts";
import type { StartContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** StartContainer: starts a created container. */
export async function startContainer(
  context: CriContext,
  request: StartContainerRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await containers.startContainer(context.containers, request.containerId, call.signal);
  return {};
}
