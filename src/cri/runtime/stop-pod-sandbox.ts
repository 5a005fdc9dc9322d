import * as sandboxes from "../../engine/sandbox/index.ts";
import type { StopPodSandboxRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** StopPodSandbox: kills the sandbox's processes and removes its network. Not an error when it is stopped. */
export async function stopPodSandbox(
  context: CriContext,
  request: StopPodSandboxRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await sandboxes.stopPodSandbox(context.sandboxes, request.podSandboxId, call.signal);
  return {};
}
