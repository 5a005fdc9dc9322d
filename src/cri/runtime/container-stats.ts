import * as stats from "../../engine/stats/index.ts";
import type { ContainerStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { messageField } from "../convert/fields.ts";
import { encodedContainerStats } from "../convert/stats.ts";

/** ContainerStats: the resource usage of a container. */
export async function containerStats(
  context: CriContext,
  request: ContainerStatsRequest,
): Promise<Uint8Array> {
  const measured = await stats.containerStats(context, request.containerId);
  return messageField(1, encodedContainerStats(measured));
}
