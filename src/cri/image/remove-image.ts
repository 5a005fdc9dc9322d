import { RuntimeError } from "../../base/errors.ts";
import * as images from "../../engine/image/index.ts";
import type { RemoveImageRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** RemoveImage: removes an image with all its names. Not an error when it is not present. */
export async function removeImage(
  context: CriContext,
  request: RemoveImageRequest,
): Promise<Record<string, never>> {
  const name = request.image?.image ?? "";
  if (name === "") throw new RuntimeError("invalid-argument", "remove image: the image is missing");
  await images.removeImage(context.images, name);
  return {};
}
