import type { MessageInitShape } from "@bufbuild/protobuf";
import { importSnapshot as imported } from "../../engine/snapshot/index.ts";
import type {
  ImportSnapshotRequest,
  ImportSnapshotResponseSchema,
} from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";
import { davitSnapshot } from "../convert/snapshot.ts";

/** ImportSnapshot: keeps a snapshot that was exported. */
export async function* importSnapshot(
  context: CriContext,
  requests: AsyncIterable<ImportSnapshotRequest>,
  call: RpcCall,
): AsyncIterable<MessageInitShape<typeof ImportSnapshotResponseSchema>> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const { data } of requests) yield data;
  }
  const snapshots = await context.snapshots();
  yield { snapshot: davitSnapshot(await imported(snapshots, chunks(), call.signal)) };
}
