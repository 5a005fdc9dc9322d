import type { MessageInitShape } from "@bufbuild/protobuf";
import * as verbs from "../../engine/pause/index.ts";
import type { PauseRequest, PauseResponseSchema } from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Pause: freezes the processes of a container or of a pod. */
export async function pause(
  context: Pick<CriContext, "containers">,
  request: Pick<PauseRequest, "id" | "reclaimMemory">,
  { signal }: Pick<RpcCall, "signal">,
): Promise<MessageInitShape<typeof PauseResponseSchema>> {
  const { containerIds, reclaimedBytes } = await verbs.pause(context.containers, request, signal);
  return { containerIds: [...containerIds], reclaimedBytes };
}
