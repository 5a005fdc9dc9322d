import type { Digest } from "../../base/digest.ts";
import type { ImageReference } from "./reference.ts";

/** The credentials of a client (CRI AuthConfig). Never logged. */
export interface RegistryAuth {
  readonly username: string;
  readonly password: string;
  /** base64 of `username:password`; replaces both. */
  readonly auth: string;
  /** The host that the credentials are for; empty for any host. */
  readonly serverAddress: string;
  readonly identityToken: string;
  readonly registryToken: string;
}

/** A pointer to content: manifest, config or layer (image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: bigint;
}

/** A manifest for this node's platform, and the content that it points to. */
export interface ResolvedImage {
  /** Digest that the name resolved to: of the index, if any, else of the manifest. */
  readonly digest: Digest;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** A blob that is being read. Its digest is not checked yet. */
export interface BlobStream extends AsyncDisposable {
  /** Undefined where the source does not know it. */
  readonly sizeBytes: bigint | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Reads one image of a registry, by the name and with the credentials that it was resolved with. */
export interface ImageFetcher {
  readonly image: ResolvedImage;
  /** The bytes of the image's config, their digest checked. Errors as {@link ImageSource.resolve}. */
  config(signal: AbortSignal): Promise<Uint8Array>;
  /** Opens a blob of the image's repository. The caller checks its digest. */
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<BlobStream>;
  /**
   * Whether the registry grants the blob to this name and these credentials, and the blob has the
   * described size. Asks without reading the bytes; an answer is at most 5 minutes old. False for any
   * other answer. Rejects only when the signal is aborted.
   */
  hasBlob(descriptor: Descriptor, signal: AbortSignal): Promise<boolean>;
}

/** Observes what pulls do. Its functions must not throw. */
export interface PullObserver {
  /** Bytes of a layer have arrived. */
  readonly received: (registry: string, bytes: number) => void;
  /** A pull has fetched a layer, or uses one that is present. */
  readonly layer: (registry: string, source: "fetched" | "reused") => void;
}

/** Ignores everything. */
export const noPullObserver: PullObserver = { received: () => undefined, layer: () => undefined };

/** Finds images by name. */
export interface ImageSource {
  /**
   * Finds the manifest for this node's platform, its digest checked. `not-found` for an image that
   * does not exist, `unauthenticated` and `permission-denied` for one that may not be read,
   * `unavailable` for a registry that does not answer (message marker `RegistryUnavailable`).
   */
  resolve(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<ImageFetcher>;
}
