import * as images from "../../engine/image/index.ts";
import type { TagRequest } from "../../gen/davit/v1/images_pb.ts";
import type { CriContext } from "../context.ts";

/** Tag: gives an image one more name. */
export function tag(
  context: CriContext,
  { source, target }: TagRequest,
): { id: string; name: string } {
  return images.tagImage(context.images, source, target);
}
