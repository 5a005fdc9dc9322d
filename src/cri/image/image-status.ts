import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import type { ImageStatusRequest, ImageStatusResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criImage, neededImages } from "../convert/image.ts";

/** ImageStatus: the image of this name; an empty answer when it is not present. */
export function imageStatus(
  context: CriContext,
  request: ImageStatusRequest,
): MessageInitShape<typeof ImageStatusResponseSchema> {
  const image = images.imageStatus(context.images, request.image?.image);
  if (image === undefined) return {};
  const info = {
    chainID: image.layers.at(-1)?.diffId ?? "",
    artifactType: image.artifactType,
    checkpointOf: image.checkpointOf,
    imageSpec: JSON.parse(image.configJson) as unknown,
  };
  return {
    image: criImage(image, neededImages(context)),
    info: request.verbose ? { info: JSON.stringify(info) } : {},
  };
}
