import type { Digest } from "../../base/digest.ts";

/** An image to write into an archive. */
export interface PackedImage {
  /** Full names with a tag; none for an image without a name. */
  readonly names: readonly string[];
  readonly configJson: string;
  /** Lowest first. */
  readonly layers: readonly Digest[];
}

/** Reads layers in the form of an archive. */
export interface LayerPacker {
  /**
   * The bytes of one archive of the images, which is a docker archive and an OCI layout at once. The layers' archives
   * are made of their files, so config and layers have other digests than those that were pulled; the same files
   * always have the same bytes. `not-found` for a missing layer, `data-loss` for one that cannot be read.
   */
  pack(images: readonly PackedImage[], signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** The bytes of the archive of one layer, as one in pack(). Errors as pack(). */
  archive(layer: Digest, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Reads all files of layers, and returns the digests of their archives in the same order. Errors as pack().
   */
  digests(layers: readonly Digest[], signal: AbortSignal): Promise<readonly Digest[]>;
}
