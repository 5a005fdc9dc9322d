import type { Digest } from "../../base/digest.ts";
import type { Image } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { ImageContext } from "./context.ts";

// The deadline of a removal. It renames directories, and may wait for an unpacking that is nearly done.
const removeMs = 30_000;

/**
 * Removes the image that `name` refers to, with all its tags and digests (api.proto, RemoveImage). Its
 * layers are removed unless another image or a container uses them; failures are retried in the
 * background. Not an error when the image does not exist.
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
  forgetImage(context, image);
  await context.verification?.forget(image.id);
  const layers = image.layers.map(({ diffId }) => diffId);
  try {
    await removeUnusedLayers(context, layers, operation);
  } catch (error) {
    // The record is deleted, so no client retries this.
    context.janitor.adopt(`layers of ${image.id}`, () => removeUnusedLayers(context, layers));
    throw error;
  }
  await operation.enter("answer");
}

/** Deletes the record of an image, and reports that. */
export function forgetImage(
  { store, onEvent }: Pick<ImageContext, "store" | "onEvent">,
  { id, repoTags }: Image,
): void {
  store.remove(id);
  onEvent({ kind: "image-removed", id, names: repoTags });
}

/**
 * Deletes the images that lack a layer because it was deleted or its metadata cannot be read. A client
 * pulls a missing image again, but could never create a container from an incomplete one.
 */
export function forgetIncompleteImages({ store, layers: onNode, log }: ImageContext): void {
  for (const { id, repoTags, layers } of [...store.all()]) {
    const gone = onNode.lacking(layers.map(({ diffId }) => diffId));
    if (gone === undefined) continue;
    log.error("forgot an image that lacks a layer; pull it again", {
      image: id,
      tags: repoTags,
      layer: gone,
    });
    store.remove(id);
  }
}

/** Removes those of `layers` that no image, container or pull uses. */
export async function removeUnusedLayers(
  context: ImageContext,
  layers: Iterable<Digest>,
  operation?: RunningOperation,
): Promise<void> {
  const used = layersInUse(context);
  for (const layer of new Set(layers)) {
    if (used.has(layer)) continue;
    await operation?.enter("remove-layer");
    // Checked again: a pull may have claimed this layer while another one was being removed.
    if (!layersInUse(context).has(layer)) await context.layers.remove(layer);
  }
  // Those of an image or container that cannot be read are not known.
  if (context.isUseUnknown()) return;
  for (const line of await context.layers.removeCopyUps(() => chainsInUse(context))) {
    context.log.info(line, { reason: "unused" });
  }
}

/** The layers that an image, a container or a pull in progress uses. */
export function layersInUse(context: ImageContext): ReadonlySet<Digest> {
  const used = new Set<Digest>();
  for (const chain of chainsInUse(context)) for (const layer of chain) used.add(layer);
  return used;
}

function* chainsInUse(context: ImageContext): Iterable<readonly Digest[]> {
  yield* context.chainsInUse();
  yield* context.pulls.claimedChains();
  for (const image of context.store.all()) yield image.layers.map(({ diffId }) => diffId);
}
