import * as stats from "../../engine/stats/index.ts";
import type { PodSandboxStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { messageField } from "../convert/fields.ts";
import { encodedPodStats } from "../convert/stats.ts";

/** PodSandboxStats: the resource usage of a ready sandbox, with its containers. */
export async function podSandboxStats(
  context: CriContext,
  request: PodSandboxStatsRequest,
): Promise<Uint8Array> {
  return messageField(
    1,
    encodedPodStats(await stats.podSandboxStats(context, request.podSandboxId)),
  );
}
