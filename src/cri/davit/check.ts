import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import {
  type CheckRequest,
  type CheckResponseSchema,
  ImageChecked_Result as Result,
} from "../../gen/davit/v1/images_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

const results = {
  whole: Result.WHOLE,
  broken: Result.BROKEN,
  repaired: Result.REPAIRED,
  removed: Result.REMOVED,
} as const;

/** Check: compares images with what is on the disk, and repairs them if asked to. */
export async function* check(
  context: CriContext,
  { images: words, deep, repair }: CheckRequest,
  call: RpcCall,
): AsyncIterable<MessageInitShape<typeof CheckResponseSchema>> {
  const request = { images: words, deep, repair };
  for await (const event of images.checkImages(context.images, request, call.signal)) {
    const { id, repoTags } = event.image;
    const image = { id, names: [...repoTags] };
    if (event.kind === "problem") {
      const { layer, problem } = event;
      yield { event: { case: "problem", value: { ...image, layer, problem } } };
    } else {
      const { message } = event;
      const result = results[event.result];
      yield { event: { case: "checked", value: { ...image, result, message } } };
    }
  }
}
