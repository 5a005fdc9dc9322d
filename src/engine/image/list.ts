import { RuntimeError } from "../../base/errors.ts";
import type { Image } from "../../core/image/index.ts";
import type { Usage } from "../../core/snapshot/index.ts";
import type { ImageContext } from "./context.ts";

/** The image of this name or id, or all images when the name is empty. */
export function listImages({ store }: Pick<ImageContext, "store">, name: string): readonly Image[] {
  if (name === "") return [...store.all()];
  const image = store.find(name);
  return image === undefined ? [] : [image];
}

/**
 * The image of this name or id; undefined when it is not present on this node, which is not an error
 * (api.proto, ImageStatus). `invalid-argument` for a missing name.
 */
export function imageStatus(
  { store, onUsed }: Pick<ImageContext, "store" | "onUsed">,
  name: string | undefined,
): Image | undefined {
  if (name === undefined) {
    throw new RuntimeError("invalid-argument", "read image status: the request names no image");
  }
  const image = store.find(name);
  // kubelet asks before it creates a container of the image.
  if (image !== undefined) onUsed(image.id);
  return image;
}

/** The disk usage of images on their file system. */
export interface ImageFsUsage extends Usage {
  /** The measured directory. */
  readonly directory: string;
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
}

/** The disk usage of layers, from memory, because kubelet's eviction manager asks often. */
export function imageFsUsage({
  layers,
  clock,
}: Pick<ImageContext, "layers" | "clock">): ImageFsUsage {
  return { ...layers.usage(), directory: layers.directory, takenAtNs: clock.nowNs() };
}
