import type { Digest } from "../../base/digest.ts";
import type { Image } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { ImageContext } from "./context.ts";

// A removal's own clock: it renames directories, and waits for an unpacking that is nearly done.
const removeMs = 30_000;

/**
 * Removes the image that `name` means: every tag and digest of it, at once (api.proto,
 * RemoveImage). Its layers go when no image and no container stands on them; those that cannot go
 * now are tried again in the background. No error when there is no such image.
 */
export async function removeImage(context: ImageContext, name: string): Promise<void> {
  const image = context.store.find(name);
  if (image === undefined) return;
  const log = context.log.with({ image: image.id });
  await context.operations.run(
    { name: "remove-image", subject: name, timeoutMs: removeMs, log },
    (operation) => takeAway(context, image, operation),
  );
}

async function takeAway(
  context: ImageContext,
  image: Image,
  operation: RunningOperation,
): Promise<void> {
  await operation.enter("delete-record");
  context.store.remove(image.id);
  const layers = image.layers.map(({ diffId }) => diffId);
  try {
    await removeUnusedLayers(context, layers, operation);
  } catch (error) {
    // Without the record nobody asks for this again.
    context.janitor.adopt(`layers of ${image.id}`, () => removeUnusedLayers(context, layers));
    throw error;
  }
  await operation.enter("answer");
}

/**
 * Forgets the images that lack a layer: somebody deleted it, or its facts cannot be read. A client
 * that finds no image pulls it again; one that found it could never make a container of it.
 */
export function forgetIncompleteImages({ store, layers: onNode, log }: ImageContext): void {
  for (const { id, repoTags, layers } of [...store.all()]) {
    const gone = onNode.lacking(layers.map(({ diffId }) => diffId));
    if (gone === undefined) continue;
    log.error("an image is incomplete, so it counts as not there: pull it again", {
      image: id,
      tags: repoTags,
      layer: gone,
    });
    store.remove(id);
  }
}

/** Removes those of `layers` that no image and no container needs any more. */
export async function removeUnusedLayers(
  context: ImageContext,
  layers: Iterable<Digest>,
  operation?: RunningOperation,
): Promise<void> {
  const used = layersInUse(context);
  for (const layer of new Set(layers)) {
    if (used.has(layer)) continue;
    await operation?.enter("remove-layer");
    // While one was being removed a pull may have come to count on the next, so it is asked again.
    if (!layersInUse(context).has(layer)) await context.layers.remove(layer);
  }
}

/** The layers that an image, a container or a pull under way stands on. */
export function layersInUse(context: ImageContext): ReadonlySet<Digest> {
  const used = new Set(context.layersInUse());
  for (const layer of context.pulls.claimed()) used.add(layer);
  for (const image of context.store.all()) for (const { diffId } of image.layers) used.add(diffId);
  return used;
}
