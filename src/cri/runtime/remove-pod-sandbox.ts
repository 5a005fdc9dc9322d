import * as sandboxes from "../../engine/sandbox/index.ts";
import type { RemovePodSandboxRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** RemovePodSandbox: removes the sandbox and stops it first if necessary. Not an error when it does not exist. */
export async function removePodSandbox(
  context: CriContext,
  request: RemovePodSandboxRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  await sandboxes.removePodSandbox(context.sandboxes, request.podSandboxId, call.signal);
  return {};
}
