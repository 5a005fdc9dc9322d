import * as sandboxes from "../../engine/sandbox/index.ts";
import type { StopPodSandboxRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Ends the sandbox's processes and gives its network back. No error when there is nothing to stop. */
export async function stopPodSandbox(
  context: CriContext,
  request: StopPodSandboxRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await sandboxes.stopPodSandbox(context.sandboxes, request.podSandboxId, call.signal);
  return {};
}
