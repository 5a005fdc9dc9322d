import { ContainerState, type ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { Server } from "../server/session.ts";
import type { PodContainer } from "./find.ts";

/** How the containers ended that did; a container that goes meanwhile is not asked twice. */
export async function endsOf(
  items: readonly PodContainer[],
  server: Server,
): Promise<ReadonlyMap<string, ContainerStatus>> {
  const ended = items.filter(
    ({ container }) => container.state === ContainerState.CONTAINER_EXITED,
  );
  const ends = new Map<string, ContainerStatus>();
  await Promise.all(
    ended.map(async ({ container: { id } }) => {
      const answer = await server.client.runtime
        .containerStatus({ containerId: id }, server.limit())
        .catch(() => undefined);
      if (answer?.status !== undefined) ends.set(id, answer.status);
    }),
  );
  return ends;
}
