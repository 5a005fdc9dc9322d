import * as containers from "../../engine/container/index.ts";
import type { CreateContainerRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** CreateContainer: creates a container in a ready sandbox. StartContainer starts its process. */
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
