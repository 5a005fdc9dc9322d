import type { Digest } from "../../base/digest.ts";
import {
  type Descriptor,
  formatReference,
  type ImageFetcher,
  type ImageReference,
  type LayerCipher,
} from "../../core/image/index.ts";
import type { ImageContext } from "./context.ts";

/** A layer as described by the manifest and the config of an image. */
export interface WantedLayer {
  readonly blob: Descriptor;
  readonly diffId: Digest;
  /** Of an artifact: the path of the file that the blob is. */
  readonly file: string | undefined;
  /** What decrypts the blob, if it is encrypted. */
  readonly cipher: LayerCipher | undefined;
}

/** The reference of a pull, and a fetcher with its credentials. */
export interface Puller {
  readonly reference: ImageReference;
  readonly fetcher: Pick<ImageFetcher, "image" | "hasBlob" | "blob">;
}

/** What a pull does with a layer, and why. */
export type LayerDecision =
  /** It is fetched, since it is not on this node. */
  | "missing"
  /** It is used, since all pulls may use what is here. */
  | "trusted"
  /** It is used, since its registry grants it to this pull. */
  | "granted"
  /** It is fetched although it is here, since it was not fetched from this registry before. */
  | "other-registry"
  /** It is fetched although it is here, since the registry did not confirm it. */
  | "not-granted";

/**
 * Decides whether a pull may use a layer that is present on this node instead of fetching it. A pull must not
 * get a layer that the registry would refuse it, and an image config may name the layers of other
 * images. So
 *
 * - the blob in the manifest must be known as this layer, from a download that was verified;
 * - that download must have been from the same registry, since any other registry could claim to have
 *   the blob;
 * - an encrypted blob must have been decrypted by the cipher that this pull has: its manifest could call the blob plain,
 *   or have a key of its author;
 * - and the registry must grant the blob to this pull, by its name and with its credentials.
 *
 * Rejects only when the signal is aborted.
 */
export async function decideLayer(
  { layers, trustPresentLayers }: ImageContext,
  { reference, fetcher }: Puller,
  { blob, diffId, cipher }: WantedLayer,
  signal: AbortSignal,
): Promise<LayerDecision> {
  if (!layers.has(diffId)) return "missing";
  if (trustPresentLayers) return "trusted";
  const { digest, sizeBytes } = blob;
  const { registry } = reference;
  const origin = { registry, digest, sizeBytes, cipher: cipher?.id };
  if (!layers.hasFrom(diffId, origin)) return "other-registry";
  return (await fetcher.hasBlob(blob, signal)) ? "granted" : "not-granted";
}

const fetchReasons: Partial<Record<LayerDecision, string>> = {
  "not-granted": "the registry did not confirm the blob",
  "other-registry": "it was not fetched from this registry as this blob before",
};

/** True when {@link decideLayer} lets the pull use the layer. Rejects only when the signal is aborted. */
export async function countsForPull(
  context: ImageContext,
  puller: Puller,
  layer: WantedLayer,
  signal: AbortSignal,
): Promise<boolean> {
  const decision = await decideLayer(context, puller, layer, signal);
  const reason = fetchReasons[decision];
  if (reason === undefined) return decision !== "missing";
  context.log.info("fetching a present layer, to verify that the registry grants it", {
    image: formatReference(puller.reference),
    layer: layer.diffId,
    blob: layer.blob.digest,
    reason,
  });
  return false;
}

/**
 * Records the origin of layers that were unpacked by a version that did not record it: the registries
 * of the images that use them. So an upgrade does not fetch layers again, and grants no more than the
 * images on this node already did.
 */
export function attributeLayers({ store, layers }: ImageContext): void {
  for (const { repoDigests, layers: layersOfImage } of store.all()) {
    // These are full names, which begin with the registry.
    for (const registry of new Set(repoDigests.map((name) => name.slice(0, name.indexOf("/"))))) {
      for (const { diffId, digest, sizeBytes } of layersOfImage) {
        layers.attribute(diffId, { registry, digest, sizeBytes });
      }
    }
  }
}
