import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import type { ListImagesRequest, ListImagesResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criImage, neededImages } from "../convert/image.ts";

/** ListImages: the images of this node; with a filter only the image of that name, if it is present. */
export function listImages(
  context: CriContext,
  request: ListImagesRequest,
): MessageInitShape<typeof ListImagesResponseSchema> {
  const name = request.filter?.image?.image ?? "";
  const needed = neededImages(context);
  const listed = images.listImages(context.images, name);
  return { images: listed.map((image) => criImage(image, needed)) };
}
