import * as stats from "../../engine/stats/index.ts";
import type { ListPodSandboxStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields, messageField } from "../convert/fields.ts";
import { encodedPodStats } from "../convert/stats.ts";

/** ListPodSandboxStats: the resource usage of the ready sandboxes that match the filter, with their containers. */
export async function listPodSandboxStats(
  context: CriContext,
  { filter }: Pick<ListPodSandboxStatsRequest, "filter">,
): Promise<Uint8Array> {
  return joinFields(await podStatsItems(context, filter));
}

/** The same as elements of field 1, for both the list and the stream. */
export async function podStatsItems(
  context: CriContext,
  filter: ListPodSandboxStatsRequest["filter"],
): Promise<readonly Uint8Array[]> {
  const measured = await stats.listPodSandboxStats(
    context,
    filter === undefined ? {} : { id: filter.id, labels: filter.labelSelector },
  );
  return measured.map((each) => messageField(1, encodedPodStats(each)));
}
