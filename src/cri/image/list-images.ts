import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Image } from "../../core/image/index.ts";
import type { ListImagesRequest, ListImagesResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criImage } from "../convert/image.ts";

/** The images of this node; with a filter the one that it names, if it is here. */
export function listImages(
  context: CriContext,
  request: ListImagesRequest,
): MessageInitShape<typeof ListImagesResponseSchema> {
  return { images: imagesFor(context, request.filter?.image?.image ?? "").map(criImage) };
}

/** The image of this name, or all where the name is empty. */
export function imagesFor(context: CriContext, name: string): readonly Image[] {
  const { store } = context.images;
  if (name === "") return [...store.all()];
  const image = store.find(name);
  return image === undefined ? [] : [image];
}
