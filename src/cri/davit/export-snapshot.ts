import type { MessageInitShape } from "@bufbuild/protobuf";
import { exportSnapshot as exported } from "../../engine/snapshot/index.ts";
import type {
  ExportSnapshotRequest,
  ExportSnapshotResponseSchema,
} from "../../gen/davit/v1/checkpoints_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** ExportSnapshot: writes a snapshot as an archive. */
export async function* exportSnapshot(
  context: CriContext,
  { id }: ExportSnapshotRequest,
  call: RpcCall,
): AsyncIterable<MessageInitShape<typeof ExportSnapshotResponseSchema>> {
  for await (const bytes of exported(await context.snapshots(), id, call.signal)) {
    const data = new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
    yield { data };
  }
}
