import type { StreamPodSandboxStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields } from "../convert/fields.ts";
import { podStatsItems } from "./list-pod-sandbox-stats.ts";

// A pod with its containers has a few KiB, so a message with this many is far below every limit.
const batch = 100;

/** ListPodSandboxStats in messages of bounded size, each sandbox once (KEP-5825). */
export async function* streamPodSandboxStats(
  context: CriContext,
  request: StreamPodSandboxStatsRequest,
): AsyncIterable<Uint8Array> {
  const items = await podStatsItems(context, request.filter);
  for (let from = 0; from < items.length; from += batch) {
    yield joinFields(items.slice(from, from + batch));
  }
}
