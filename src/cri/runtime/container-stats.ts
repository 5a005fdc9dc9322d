import { RuntimeError } from "../../base/errors.ts";
import type { ContainerStatsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { messageField } from "../convert/fields.ts";
import { encodedContainerStats } from "../convert/stats.ts";

/** What a container uses; one that does not run has attributes and its writable layer alone. */
export async function containerStats(
  context: CriContext,
  request: ContainerStatsRequest,
): Promise<Uint8Array> {
  const container = context.containers.store.resolve(request.containerId);
  const stats = (await context.stats.containers([container])).get(container.id);
  if (stats === undefined) {
    throw new RuntimeError(
      "unavailable",
      `read stats of container "${container.id}": its cgroup does not answer, try again`,
    );
  }
  return messageField(1, encodedContainerStats(container, stats));
}
