import { ContainerState, type ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { Server } from "../server/session.ts";
import type { PodContainer } from "./find.ts";

/** The statuses of exited containers by id. Containers that are removed meanwhile have none. */
export function exitStatusesOf(
  items: readonly PodContainer[],
  server: Server,
): Promise<ReadonlyMap<string, ContainerStatus>> {
  return statusesOf(
    items.filter(({ container }) => container.state === ContainerState.CONTAINER_EXITED),
    server,
  );
}

/** The statuses of containers by id. Containers that are removed meanwhile have none. */
export async function statusesOf(
  items: readonly PodContainer[],
  server: Server,
): Promise<ReadonlyMap<string, ContainerStatus>> {
  const statuses = new Map<string, ContainerStatus>();
  await Promise.all(
    items.map(async ({ container: { id } }) => {
      const answer = await server.client.runtime
        .containerStatus({ containerId: id }, server.limit())
        .catch(() => undefined);
      if (answer?.status !== undefined) statuses.set(id, answer.status);
    }),
  );
  return statuses;
}
