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
