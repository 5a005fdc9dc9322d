import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import type { SaveRequest, SaveResponseSchema } from "../../gen/davit/v1/images_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Save: writes images as one archive. */
export async function* save(
  context: CriContext,
  request: SaveRequest,
  call: RpcCall,
): AsyncIterable<MessageInitShape<typeof SaveResponseSchema>> {
  for await (const bytes of images.saveImages(context.images, request.images, call.signal)) {
    const chunk = new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
    yield { chunk };
  }
}
