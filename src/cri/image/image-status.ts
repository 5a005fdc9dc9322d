import type { MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import type { ImageStatusRequest, ImageStatusResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criImage } from "../convert/image.ts";

/** The image of this name; an answer without one when it is not here, which is no error (api.proto). */
export function imageStatus(
  context: CriContext,
  request: ImageStatusRequest,
): MessageInitShape<typeof ImageStatusResponseSchema> {
  if (request.image === undefined) {
    throw new RuntimeError("invalid-argument", "ask for an image: the image is missing");
  }
  const image = context.images.store.find(request.image.image);
  if (image === undefined) return {};
  const info = {
    chainID: image.layers.at(-1)?.diffId ?? "",
    imageSpec: JSON.parse(image.configJson) as unknown,
  };
  return { image: criImage(image), info: request.verbose ? { info: JSON.stringify(info) } : {} };
}
