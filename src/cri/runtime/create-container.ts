import * as containers from "../../engine/container/index.ts";
import type { CreateContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Makes a container in a ready sandbox. Its process comes with StartContainer. */
export async function createContainer(
  context: CriContext,
  request: CreateContainerRequest,
  call: RpcCall,
): Promise<{ containerId: string }> {
  const { requestBytes } = call;
  const containerId = await containers.createContainer(
    context.containers,
    { request, requestBytes },
    call.signal,
  );
  return { containerId };
}
