import type { GetEventsRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/**
 * The events of all containers and sandboxes from now on, in the order of the changes; events of a sandbox
 * have its id as their container_id. What was before is in the lists: a client opens the stream, waits for
 * its headers, and lists then.
 *
 * Fails with `resource-exhausted` when the client is too slow, and with `unavailable` when davit stops.
 */
export async function* getContainerEvents(
  context: Pick<CriContext, "events">,
  _request: GetEventsRequest,
  call: Pick<RpcCall, "signal" | "open">,
): AsyncIterable<Uint8Array> {
  using subscription = context.events.subscribe();
  const end = (): void => {
    subscription[Symbol.dispose]();
  };
  call.signal.addEventListener("abort", end, { once: true });
  if (call.signal.aborted) return;
  call.open();
  yield* subscription;
}
