import type { Digest } from "../../base/digest.ts";
import type { ImageReference } from "./reference.ts";
import type { BlobStream, Descriptor } from "./source.ts";

/** An image of an archive. Its config and layers are in the archive, and have the digests of their descriptors. */
export interface ArchivedImage {
  /** The names that the archive gives it. */
  readonly names: readonly ImageReference[];
  /** Digest of its index or manifest; undefined where the archive has none. */
  readonly digest: Digest | undefined;
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
}

/** An archive that was received completely. Its files are removed with it. */
export interface ImageArchive extends AsyncDisposable {
  readonly images: readonly ArchivedImage[];
  /** The bytes of an image's config. `failed-precondition` for one that is too large. */
  config(image: ArchivedImage): Promise<Uint8Array>;
  /** Opens the blob of a layer. */
  blob(descriptor: Descriptor): Promise<BlobStream>;
}

/** The configuration of an image that is made of a root file system. */
export interface RootFsConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly user: string;
}

/** How to read an archive. */
export interface ArchiveOptions {
  /** The archive is the root file system of an image with this configuration. */
  readonly rootFs?: RootFsConfig | undefined;
}

/** Reads archives of images: docker archives, OCI layouts and root file systems. */
export interface ImageArchives {
  /**
   * Receives an archive to its end. `invalid-argument` for one that is not an archive of images or is
   * broken, `data-loss` for wrong digests, `not-found` for one without an image for this node's platform,
   * `unimplemented` for types of content that are not container images, `resource-exhausted` when too
   * little disk space would stay free, `failed-precondition` beyond other limits. The failure of `chunks`
   * and the signal's reason are passed on unchanged. Nothing stays after a failure.
   */
  open(
    chunks: AsyncIterable<Uint8Array>,
    options: ArchiveOptions,
    signal: AbortSignal,
  ): Promise<ImageArchive>;
}
