import type { MessageInitShape } from "@bufbuild/protobuf";
import { beforeAbort } from "../../base/wait.ts";
import type { HoldRequest, HoldResponseSchema } from "../../gen/davit/v1/leases_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/**
 * Hold: holds a lease as long as the call. Fails with `unavailable` when davit stops; the pods stay then, and
 * the client can hold the lease again.
 */
export async function* hold(
  context: Pick<CriContext, "leases">,
  { id, graceSeconds }: Pick<HoldRequest, "id" | "graceSeconds">,
  { signal }: Pick<RpcCall, "signal">,
): AsyncIterable<MessageInitShape<typeof HoldResponseSchema>> {
  signal.throwIfAborted();
  using lease = context.leases.hold({ id, graceSeconds });
  yield { id: lease.id, pods: lease.pods };
  await beforeAbort(lease.interrupted, signal);
}
