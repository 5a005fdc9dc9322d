import * as stats from "../../engine/stats/index.ts";
import type { ListContainerStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields, messageField } from "../convert/fields.ts";
import { encodedContainerStats } from "../convert/stats.ts";

/** ListContainerStats: the resource usage of the containers that match the filter. */
export async function listContainerStats(
  context: CriContext,
  { filter }: Pick<ListContainerStatsRequest, "filter">,
): Promise<Uint8Array> {
  return joinFields(await containerStatsItems(context, filter));
}

/** The same as elements of field 1, for both the list and the stream. */
export async function containerStatsItems(
  context: CriContext,
  filter: ListContainerStatsRequest["filter"],
): Promise<readonly Uint8Array[]> {
  const measured = await stats.listContainerStats(
    context,
    filter === undefined
      ? {}
      : { id: filter.id, sandboxId: filter.podSandboxId, labels: filter.labelSelector },
  );
  return measured.map((each) => messageField(1, encodedContainerStats(each)));
}
