import type { MessageInitShape } from "@bufbuild/protobuf";
import { listSnapshots as list } from "../../engine/snapshot/index.ts";
import type {
  ListSnapshotsRequest,
  ListSnapshotsResponseSchema,
} from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext } from "../context.ts";
import { davitSnapshot } from "../convert/snapshot.ts";

/** ListSnapshots: all snapshots of the node, the newest first. */
export async function listSnapshots(
  context: CriContext,
  _request: ListSnapshotsRequest,
): Promise<MessageInitShape<typeof ListSnapshotsResponseSchema>> {
  return { snapshots: (await list(await context.snapshots())).map(davitSnapshot) };
}
