import { isKind } from "../../base/errors.ts";
import { watchChanges } from "../../client/events.ts";
import { ContainerState, type ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { Server } from "../server/session.ts";

const requestMs = 10_000;

/**
 * Waits until a container has exited. Resolves with its status; undefined if it was removed. A server that
 * restarts meanwhile is waited for.
 */
export async function waitForEnd(
  { client }: Server,
  containerId: string,
  signal: AbortSignal,
): Promise<ContainerStatus | undefined> {
  for await (const news of watchChanges(client, { signal })) {
    if (news.kind === "event" && news.event.containerId !== containerId) continue;
    try {
      const answer = await client.runtime.containerStatus(
        { containerId },
        { signal, timeoutMs: requestMs },
      );
      if (answer.status?.state === ContainerState.CONTAINER_EXITED) return answer.status;
    } catch (error) {
      if (isKind(error, "not-found")) return undefined;
      if (!isKind(error, "unavailable") && !isKind(error, "deadline-exceeded")) throw error;
    }
  }
  return undefined;
}
