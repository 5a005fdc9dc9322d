import type { ListContainerStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields, messageField } from "../convert/fields.ts";
import { encodedContainerStats, passesContainerStatsFilter } from "../convert/stats.ts";

/**
 * What the containers that pass the filter use, in whatever state they are. One whose cgroup does
 * not answer is left out.
 */
export async function listContainerStats(
  context: CriContext,
  { filter }: Pick<ListContainerStatsRequest, "filter">,
): Promise<Uint8Array> {
  return joinFields(await containerStatsItems(context, filter));
}

/** The same as elements of field 1, which is the list's and the stream's. */
export async function containerStatsItems(
  context: CriContext,
  filter: ListContainerStatsRequest["filter"],
): Promise<readonly Uint8Array[]> {
  const containers = [...context.containers.store.listed()].filter((container) =>
    passesContainerStatsFilter(container, filter),
  );
  const stats = await context.stats.containers(containers);
  return containers.flatMap((container) => {
    const its = stats.get(container.id);
    return its === undefined ? [] : [messageField(1, encodedContainerStats(container, its))];
  });
}
