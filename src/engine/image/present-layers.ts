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
  const { snapshots, log } = context;
  if (!snapshots.hasLayer(diffId)) return false;
  if (context.trustPresentLayers) return true;
  const { digest, sizeBytes } = blob;
  const isKnown = snapshots.hasLayerFrom(diffId, {
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
 * Tells the snapshots where layers came from that were unpacked before that was kept: from the
 * registries of the images that stand on them. So an upgrade fetches nothing again, and gives nobody
 * more than the images on this node gave already.
 */
export function attributeLayers({ store, snapshots }: ImageContext): void {
  for (const { repoDigests, layers } of store.all()) {
    // Full names, which begin with it.
    for (const registry of new Set(repoDigests.map((name) => name.slice(0, name.indexOf("/"))))) {
      for (const { diffId, digest, sizeBytes } of layers) {
        snapshots.attributeLayer(diffId, { registry, digest, sizeBytes });
      }
    }
  }
}
