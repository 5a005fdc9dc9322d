import type { Digest } from "../../base/digest.ts";
import type { Descriptor } from "../../core/image/index.ts";
import { type LayerLimit, type LayerLimits, TooLarge } from "../../core/snapshot/index.ts";

/** How much an image may be. 0 is no limit, but for layers. */
export interface ImageLimits {
  readonly layers: number;
  /** Bytes of all layers without compression. */
  readonly unpackedBytes: number;
  /** Times that a layer may be larger than its compressed blob. */
  readonly unpackedRatio: number;
  /** Entries of the archive of a layer. */
  readonly layerEntries: number;
}

/** A layer that is no larger than this has any ratio: an image of zeros is ordinary up to here. */
export const ratioCountsFromBytes = 16 * 2 ** 30;

/**
 * Refuses an image of too many layers, by `failed-precondition`. A layer that is there several times
 * counts once, as it is mounted once.
 */
export function checkLayerCount(diffIds: readonly Digest[], limits: ImageLimits): void {
  const count = new Set(diffIds).size;
  if (count <= limits.layers) return;
  const text = `it has ${count} layers, more than images.max_layers = ${limits.layers}`;
  const advice = "build it with fewer layers";
  throw new TooLarge(`${text}: ${advice}`);
}

/**
 * What a layer of an image may not exceed, when the image's other layers that are here already have
 * `otherBytes` bytes.
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

/** Refuses an image whose layers together are too large, by `failed-precondition`. */
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
