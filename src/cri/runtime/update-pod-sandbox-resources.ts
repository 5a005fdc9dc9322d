import * as sandboxes from "../../engine/sandbox/index.ts";
import type { UpdatePodSandboxResourcesRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** UpdatePodSandboxResources: changes the pod-wide resources and overhead. */
export async function updatePodSandboxResources(
  context: CriContext,
  request: UpdatePodSandboxResourcesRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await sandboxes.updatePodSandboxResources(
    context.sandboxes,
    { request, requestBytes: call.requestBytes },
    call.signal,
  );
  return {};
}
