import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ReloadRequest, ReloadResponseSchema } from "../../gen/davit/v1/daemon_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Reload: reads the configuration of the daemon again. */
export async function reload(
  context: CriContext,
  _request: ReloadRequest,
  { peer }: RpcCall,
): Promise<MessageInitShape<typeof ReloadResponseSchema>> {
  const { changed, waiting, refused } = await context.reload({
    cause: "Reload",
    ...(peer === undefined ? {} : { pid: peer.pid, uid: peer.uid }),
  });
  return { changed: [...changed], waiting: [...waiting], refused: [...refused] };
}
