import type { Digest } from "../../base/digest.ts";
import {
  type Descriptor,
  formatReference,
  type ImageFetcher,
  type ImageReference,
} from "../../core/image/index.ts";
import type { ImageContext } from "./context.ts";

/** A layer as the manifest and the config of an image name it. */
export interface WantedLayer {
  readonly blob: Descriptor;
  readonly diffId: Digest;
}

/** The name that an image is pulled by, and what reads it with the credentials of the pull. */
export interface Puller {
  readonly reference: ImageReference;
  readonly fetcher: Pick<ImageFetcher, "image" | "hasBlob" | "blob">;
}

/**
 * Whether a layer that is on this node counts for a pull, so that it is not fetched again. It must not
 * give anybody what the registry would not: an image's config may name the layers of others. So
 *
 * - the blob that the manifest names must be known as this layer, from a download that was checked;
 * - that download must have been from the same registry, since any other one could say that it has
 *   the blob;
 * - and the registry must grant the blob to this pull, by its name and with its credentials.
 *
 * False for a layer that is not here. Rejects only when the signal ends it.
 */
export async function countsForPull(
  context: ImageContext,
  { reference, fetcher }: Puller,
  { blob, diffId }: WantedLayer,
  signal: AbortSignal,
): Promise<boolean> {
  const { layers, log } = context;
  if (!layers.has(diffId)) return false;
  if (context.trustPresentLayers) return true;
  const { digest, sizeBytes } = blob;
  const isKnown = layers.hasFrom(diffId, {
    registry: reference.registry,
    digest,
    sizeBytes,
  });
  if (isKnown && (await fetcher.hasBlob(blob, signal))) return true;
  log.info("fetching a layer that is here, to see that the registry gives it", {
    image: formatReference(reference),
    layer: diffId,
    blob: digest,
    reason: isKnown ? "its registry does not confirm the blob" : "it has not come from there yet",
  });
  return false;
}

/**
 * Sets the origins of layers that an older davit unpacked without recording them: the registries of the
 * images that use them. So an upgrade fetches nothing again, and grants no pull more than the images on
 * this node did already.
 */
export function attributeLayers({ store, layers }: ImageContext): void {
  for (const { repoDigests, layers: layersOfImage } of store.all()) {
    // Full names, which begin with it.
    for (const registry of new Set(repoDigests.map((name) => name.slice(0, name.indexOf("/"))))) {
      for (const { diffId, digest, sizeBytes } of layersOfImage) {
        layers.attribute(diffId, { registry, digest, sizeBytes });
      }
    }
  }
}
