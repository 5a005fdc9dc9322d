import { RuntimeError } from "../../base/errors.ts";
import type { Image } from "../../core/image/index.ts";
import type { PackedImage } from "../../core/snapshot/index.ts";
import type { ImageContext } from "./context.ts";

/**
 * The bytes of one archive of these images, given by names or ids: see `LayerPacker.pack`. An image has in it the
 * names that it is given by. `not-found` for an unknown image.
 */
export async function* saveImages(
  context: Pick<ImageContext, "store" | "packer" | "pulls">,
  words: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (words.length === 0) throw new RuntimeError("invalid-argument", "save images: none is named");
  const chosen = new Map<Image, string[]>();
  for (const word of words) {
    const image = context.store.find(word);
    if (image === undefined) {
      throw new RuntimeError(
        "not-found",
        `save image "${word}": it is not on this node; pull or load it`,
      );
    }
    if (image.artifactType !== undefined) {
      throw new RuntimeError(
        "failed-precondition",
        `save image "${word}": it is an OCI artifact, and only images can be saved`,
      );
    }
    if (image.checkpointOf !== undefined) {
      throw new RuntimeError(
        "failed-precondition",
        `save image "${word}": it is a checkpoint of a container, and the archive would not say so; copy it from its registry`,
      );
    }
    chosen.set(image, [...(chosen.get(image) ?? []), ...tagIn(context, image, word)]);
  }
  const images = [...chosen].map(([image, names]): PackedImage => {
    const layers = image.layers.map(({ diffId }) => diffId);
    return { names: [...new Set(names)].sort(), configJson: image.configJson, layers };
  });
  // A removal of an image keeps its layers until they are written.
  using _claim = context.pulls.claim(images.flatMap(({ layers }) => layers));
  yield* context.packer.pack(images, signal);
}

/** The tag of the image that the word is; none for an id or a digest. */
function tagIn(
  { store }: Pick<ImageContext, "store">,
  { repoTags }: Image,
  word: string,
): readonly string[] {
  const name = store.nameOf(word);
  return name !== undefined && repoTags.includes(name) ? [name] : [];
}
