import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import type {
  StreamImagesRequest,
  StreamImagesResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { criImage, neededImages } from "../convert/image.ts";

// An image has about half a KiB, or more with many names. The message is far below every limit.
const batch = 1000;

/** The images that match the filter at the time of the call, each once (KEP-5825). */
export function* streamImages(
  context: CriContext,
  request: StreamImagesRequest,
): Iterable<MessageInitShape<typeof StreamImagesResponseSchema>> {
  const listed = images.listImages(context.images, request.filter?.image?.image ?? "");
  const needed = neededImages(context);
  for (let from = 0; from < listed.length; from += batch) {
    const part = listed.slice(from, from + batch);
    yield { images: part.map((image) => criImage(image, needed)) };
  }
}
