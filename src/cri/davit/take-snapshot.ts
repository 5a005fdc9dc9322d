import type { MessageInitShape } from "@bufbuild/protobuf";
import { takeSnapshot as take } from "../../engine/snapshot/index.ts";
import type { SnapshotSchema, TakeSnapshotRequest } from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";
import { davitSnapshot } from "../convert/snapshot.ts";

/** TakeSnapshot: makes a checkpoint of a pod that the node keeps. */
export async function takeSnapshot(
  context: CriContext,
  { sandboxId, closeTcp }: TakeSnapshotRequest,
  call: RpcCall,
): Promise<MessageInitShape<typeof SnapshotSchema>> {
  const snapshots = await context.snapshots();
  return davitSnapshot(await take(snapshots, { sandboxId, closeTcp }, call.signal));
}
