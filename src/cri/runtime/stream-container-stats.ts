import type { StreamContainerStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields } from "../convert/fields.ts";
import { statsBatch } from "../convert/stats.ts";
import { containerStatsItems } from "./list-container-stats.ts";

/** ListContainerStats in messages of bounded size, each container once (KEP-5825). */
export async function* streamContainerStats(
  context: CriContext,
  request: StreamContainerStatsRequest,
): AsyncIterable<Uint8Array> {
  const items = await containerStatsItems(context, request.filter);
  for (let from = 0; from < items.length; from += statsBatch) {
    yield joinFields(items.slice(from, from + statsBatch));
  }
}
