import * as containers from "../../engine/container/index.ts";
import type { ReopenContainerLogRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** ReopenContainerLog: reopens the container's log at its path after kubelet has rotated the old file. */
export async function reopenContainerLog(
  context: CriContext,
  request: ReopenContainerLogRequest,
): Promise<Record<string, never>> {
  await containers.reopenContainerLog(context.containers, request.containerId);
  return {};
}
