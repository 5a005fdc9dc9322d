import type { MessageInitShape } from "@bufbuild/protobuf";
import * as verbs from "../../engine/pause/index.ts";
import type { ResumeRequest, ResumeResponseSchema } from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Resume: lets the processes of a container or of a pod run on. */
export async function resume(
  context: Pick<CriContext, "containers">,
  request: Pick<ResumeRequest, "id">,
  { signal }: Pick<RpcCall, "signal">,
): Promise<MessageInitShape<typeof ResumeResponseSchema>> {
  return { containerIds: [...(await verbs.resume(context.containers, request, signal))] };
}
