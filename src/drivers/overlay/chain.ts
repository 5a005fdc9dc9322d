import type { Digest } from "../../base/digest.ts";

/** What the kernel mounts in one overlay (OVL_MAX_STACK in fs/overlayfs/params.h). */
export const maxLowerLayers = 500;

/**
 * The layers of an image, lowest first, as they are mounted: one that is there several times only where it
 * lies topmost. The kernel refuses a layer twice (ELOOP), and the upper one hides the lower one wholly: all
 * that the lower one has, it has too.
 */
export function chainOf(layers: readonly Digest[]): readonly Digest[] {
  return [...new Set(layers.toReversed())].reverse();
}
