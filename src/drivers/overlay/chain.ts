import type { Digest } from "../../base/digest.ts";

/** What the kernel mounts in one overlay (OVL_MAX_STACK in fs/overlayfs/params.h). */
export const maxLowerLayers = 500;

/**
 * The layers of an image, lowest first, as they are mounted: a layer that occurs several times is mounted only at
 * its topmost position. The kernel refuses a layer twice (ELOOP), and the upper one hides the lower one,
 * which has the same files.
 */
export function chainOf(layers: readonly Digest[]): readonly Digest[] {
  return [...new Set(layers.toReversed())].reverse();
}
