import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ListPodSandboxStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { joinFields, messageField } from "../convert/fields.ts";
import { encodedContainerStats, encodedPodStats, passesPodStatsFilter } from "../convert/stats.ts";

/**
 * What the ready sandboxes that pass the filter use, with their containers. One whose cgroup does
 * not answer is left out.
 */
export async function listPodSandboxStats(
  context: CriContext,
  { filter }: Pick<ListPodSandboxStatsRequest, "filter">,
): Promise<Uint8Array> {
  return joinFields(await podStatsItems(context, filter));
}

/** The same as elements of field 1, which is the list's and the stream's. */
export async function podStatsItems(
  context: CriContext,
  filter: ListPodSandboxStatsRequest["filter"],
): Promise<readonly Uint8Array[]> {
  const sandboxes = [...context.sandboxes.store.listed()].filter((sandbox) =>
    passesPodStatsFilter(sandbox, filter),
  );
  const messages = await podStatsMessages(context, sandboxes);
  return messages.map((message) => messageField(1, message));
}

/** A PodSandboxStats message for each of the sandboxes that answer. */
export async function podStatsMessages(
  context: CriContext,
  sandboxes: readonly Sandbox[],
): Promise<readonly Uint8Array[]> {
  const containersOf = new Map<string, Container[]>(sandboxes.map(({ id }) => [id, []]));
  for (const container of context.containers.store.listed()) {
    containersOf.get(container.sandboxId)?.push(container);
  }
  const [podStats, stats] = await Promise.all([
    context.stats.pods(sandboxes),
    context.stats.containers([...containersOf.values()].flat()),
  ]);
  return sandboxes.flatMap((sandbox) => {
    const ofPod = podStats.get(sandbox.id);
    if (ofPod === undefined) return [];
    const containers = (containersOf.get(sandbox.id) ?? []).flatMap((container) => {
      const its = stats.get(container.id);
      return its === undefined ? [] : [encodedContainerStats(container, its)];
    });
    return [encodedPodStats(sandbox, ofPod, containers)];
  });
}
