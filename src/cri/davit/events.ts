import { create, toBinary } from "@bufbuild/protobuf";
import { type EventsRequest, EventsResponseSchema } from "../../gen/davit/v1/daemon_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Says that the stream is open. */
const first = toBinary(EventsResponseSchema, create(EventsResponseSchema, {}));

/**
 * Events: what happens on the node from now on, except the events of GetContainerEvents. Fails with
 * `resource-exhausted` when the client is too slow, and with `unavailable` when davit stops.
 */
export async function* events(
  context: Pick<CriContext, "nodeEvents">,
  _request: EventsRequest,
  call: Pick<RpcCall, "signal">,
): AsyncIterable<Uint8Array> {
  using subscription = context.nodeEvents.subscribe();
  const end = (): void => {
    subscription[Symbol.dispose]();
  };
  call.signal.addEventListener("abort", end, { once: true });
  if (call.signal.aborted) return;
  yield first;
  yield* subscription;
}
