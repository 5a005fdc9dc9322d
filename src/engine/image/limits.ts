import type { Digest } from "../../base/digest.ts";
import type { Descriptor } from "../../core/image/index.ts";
import { type LayerLimit, type LayerLimits, TooLarge } from "../../core/snapshot/index.ts";

/** Size limits of an image. 0 means unlimited, except for `layers`. */
export interface ImageLimits {
  readonly layers: number;
  /** Uncompressed bytes of all layers. */
  readonly unpackedBytes: number;
  /** The maximum ratio of a layer's size to that of its compressed blob. */
  readonly unpackedRatio: number;
  /** Entries in the archive of a layer. */
  readonly layerEntries: number;
}

/** The ratio is not checked for layers up to this size: smaller images of zeros are common. */
export const ratioCountsFromBytes = 16 * 2 ** 30;

/**
 * Rejects an image with too many layers, with `failed-precondition`. A layer that occurs several times
 * counts once, because it is mounted once.
 */
export function checkLayerCount(diffIds: readonly Digest[], limits: ImageLimits): void {
  const count = new Set(diffIds).size;
  if (count <= limits.layers) return;
  const text = `it has ${count} layers, more than images.max_layers = ${limits.layers}`;
  const advice = "build it with fewer layers";
  throw new TooLarge(`${text}: ${advice}`);
}

/**
 * The limits of one layer of an image whose other present layers have `otherBytes` bytes.
 */
export function limitsOfLayer(
  limits: ImageLimits,
  blob: Descriptor,
  otherBytes: number,
): LayerLimits {
  const bytes = [imageLimit(limits, otherBytes), ratioLimit(limits, blob)]
    .filter((limit) => limit !== undefined)
    .toSorted((a, b) => a.most - b.most)[0];
  const { layerEntries } = limits;
  return {
    ...(bytes === undefined ? {} : { bytes }),
    ...(layerEntries === 0
      ? {}
      : {
          entries: {
            most: layerEntries,
            why: `images.max_layer_entries = ${layerEntries} entries`,
          },
        }),
  };
}

/** Rejects an image whose layers together are too large, with `failed-precondition`. */
export function checkUnpackedBytes(bytes: number, limits: ImageLimits): void {
  if (limits.unpackedBytes === 0 || bytes <= limits.unpackedBytes) return;
  throw new TooLarge(
    `its layers have ${bytes} bytes, more than images.max_unpacked_bytes = ${limits.unpackedBytes}`,
  );
}

function imageLimit({ unpackedBytes }: ImageLimits, otherBytes: number): LayerLimit | undefined {
  if (unpackedBytes === 0) return undefined;
  const most = Math.max(0, unpackedBytes - otherBytes);
  const others = otherBytes === 0 ? "" : `, of which other layers have ${otherBytes}`;
  return {
    most,
    why: `the image's images.max_unpacked_bytes = ${unpackedBytes} bytes${others}`,
  };
}

function ratioLimit({ unpackedRatio }: ImageLimits, blob: Descriptor): LayerLimit | undefined {
  if (unpackedRatio === 0) return undefined;
  const most = Math.max(ratioCountsFromBytes, unpackedRatio * Number(blob.sizeBytes));
  return {
    most,
    why: `${most} bytes for a blob of ${blob.sizeBytes} bytes (images.max_unpacked_ratio = ${unpackedRatio})`,
  };
}
