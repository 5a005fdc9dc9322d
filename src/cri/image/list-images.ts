import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import type { ListImagesRequest, ListImagesResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criImage } from "../convert/image.ts";

/** The images of this node; with a filter the one that it names, if it is here. */
export function listImages(
  context: CriContext,
  request: ListImagesRequest,
): MessageInitShape<typeof ListImagesResponseSchema> {
  const name = request.filter?.image?.image ?? "";
  return { images: images.listImages(context.images, name).map(criImage) };
}
