import type { CheckpointPodRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** CheckpointPod: writes a checkpoint of running containers of a pod into an empty directory. */
export async function checkpointPod(
  context: CriContext,
  { podSandboxId, outputPath, containerIds, options }: CheckpointPodRequest,
  call: RpcCall,
): Promise<Record<string, never>> {
  const { checkpointPod: checkpoint } = await import("../../engine/checkpoint/index.ts");
  const deadlineMs = call.deadline;
  const request = { sandboxId: podSandboxId, containerIds, directory: outputPath, options };
  await checkpoint(context.containers, { ...request, deadlineMs }, call.signal);
  return {};
}
