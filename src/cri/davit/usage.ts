import type { MessageInitShape } from "@bufbuild/protobuf";
import { containerUsage } from "../../engine/container/index.ts";
import type { UsageRequest, UsageResponseSchema } from "../../gen/davit/v1/containers_pb.ts";
import type { CriContext } from "../context.ts";

/** Usage: what a container uses, or used until its end. */
export async function usage(
  context: CriContext,
  { containerId }: UsageRequest,
): Promise<MessageInitShape<typeof UsageResponseSchema>> {
  const { ended, usage: found } = await containerUsage(context.containers, containerId);
  const { takenAtNs, cpuNs, memoryBytes, memoryPeakBytes } = found;
  const { oomKills, readBytes, writtenBytes, pids } = found;
  return {
    timeNs: takenAtNs,
    ended,
    ...(cpuNs !== undefined && { cpuNs }),
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(memoryPeakBytes !== undefined && { memoryPeakBytes }),
    ...(oomKills !== undefined && { oomKills }),
    ...(readBytes !== undefined && { readBytes }),
    ...(writtenBytes !== undefined && { writtenBytes }),
    ...(pids !== undefined && { pids }),
  };
}
