import * as sandboxes from "../../engine/sandbox/index.ts";
import type { RunPodSandboxRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** RunPodSandbox: creates and starts a pod sandbox. On success it is ready for containers. */
export async function runPodSandbox(
  context: CriContext,
  request: RunPodSandboxRequest,
  call: RpcCall,
): Promise<{ podSandboxId: string }> {
  const { requestBytes } = call;
  const podSandboxId = await sandboxes.runPodSandbox(
    context.sandboxes,
    { request, requestBytes },
    call.signal,
  );
  return { podSandboxId };
}
