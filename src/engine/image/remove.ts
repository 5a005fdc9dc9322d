import type { Digest } from "../../base/digest.ts";
import type { ImageContext } from "./context.ts";

/**
 * Removes the image that `name` means: every tag and digest of it, at once (api.proto,
 * RemoveImage). Its layers go when no image and no container stands on them. No error when there
 * is no such image.
 */
export async function removeImage(context: ImageContext, name: string): Promise<void> {
  const image = context.store.find(name);
  if (image === undefined) return;
  context.store.remove(image.id);
  await removeUnusedLayers(
    context,
    image.layers.map(({ diffId }) => diffId),
  );
}

/**
 * Forgets the images that lack a layer: somebody deleted it, or its facts cannot be read. A client
 * that finds no image pulls it again; one that found it could never make a container of it.
 */
export function forgetIncompleteImages({ store, snapshots, log }: ImageContext): void {
  for (const { id, repoTags, layers } of [...store.all()]) {
    const gone = layers.find(({ diffId }) => !snapshots.hasLayer(diffId));
    if (gone === undefined) continue;
    log.error("a layer of an image is gone, so the image counts as not there: pull it again", {
      image: id,
      tags: repoTags,
      layer: gone.diffId,
    });
    store.remove(id);
  }
}

/** Removes those of `layers` that no image and no container needs any more. */
export async function removeUnusedLayers(
  context: ImageContext,
  layers: Iterable<Digest>,
): Promise<void> {
  const used = layersInUse(context);
  for (const layer of new Set(layers)) {
    // While one was being removed a pull may have come to count on the next, so it is asked again.
    if (!used.has(layer) && !layersInUse(context).has(layer))
      await context.snapshots.removeLayer(layer);
  }
}

function layersInUse(context: ImageContext): ReadonlySet<Digest> {
  const used = new Set(context.layersInUse());
  for (const layer of context.pulls.claimed()) used.add(layer);
  for (const image of context.store.all()) for (const { diffId } of image.layers) used.add(diffId);
  return used;
}
