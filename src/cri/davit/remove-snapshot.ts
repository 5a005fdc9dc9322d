import type { MessageInitShape } from "@bufbuild/protobuf";
import { removeSnapshot as remove } from "../../engine/snapshot/index.ts";
import type {
  RemoveSnapshotRequest,
  RemoveSnapshotResponseSchema,
} from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext } from "../context.ts";

/** RemoveSnapshot: deletes a snapshot. */
export async function removeSnapshot(
  context: CriContext,
  { id }: RemoveSnapshotRequest,
): Promise<MessageInitShape<typeof RemoveSnapshotResponseSchema>> {
  await remove(await context.snapshots(), id);
  return {};
}
