import type { Digest } from "../../base/digest.ts";

/** What is wrong with a layer of an image on the disk. */
export interface LayerProblem {
  readonly layer: Digest;
  /** In one line. */
  readonly problem: string;
}

/** Compares layers with what is on the disk. */
export interface LayerChecker {
  /**
   * The problems of an image's layers, lowest first: a layer that is missing, that cannot be read, or that has
   * another number of files than when it was unpacked. A deep check also reads all files, and compares them with
   * those of the deep check before; the first one records their digest.
   */
  check(
    layers: readonly Digest[],
    how: { readonly deep: boolean },
    signal: AbortSignal,
  ): AsyncIterable<LayerProblem>;
}
