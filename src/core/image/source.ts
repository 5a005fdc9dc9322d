import type { Digest } from "../../base/digest.ts";
import type { ImageReference } from "./reference.ts";

/** What a client gave to authenticate with (CRI AuthConfig). Never logged. */
export interface RegistryAuth {
  readonly username: string;
  readonly password: string;
  /** base64 of `username:password`; stands in for both. */
  readonly auth: string;
  /** The host that the credentials are for; empty for whatever host is asked. */
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

/** A manifest for this node's platform, and what it points to. */
export interface ResolvedImage {
  /** Digest of what the name means: of the index where there is one, else of the manifest. */
  readonly digest: Digest;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** A blob on its way. Its digest is not checked yet. */
export interface BlobStream extends AsyncDisposable {
  /** Size of the whole blob, whatever offset it was opened at. Undefined where nobody says it. */
  readonly sizeBytes: bigint | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Where images come from. */
export interface ImageSource {
  /**
   * Finds the manifest for this node's platform, its digest checked. `not-found` for an image that
   * is not there, `unauthenticated` and `permission-denied` for one that may not be read,
   * `unavailable` for a registry that does not answer (message marker `RegistryUnavailable`).
   */
  resolve(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<ResolvedImage>;
  /** The bytes of an image's config, their digest checked. Errors as {@link resolve}. */
  fetchConfig(
    reference: ImageReference,
    config: Descriptor,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array>;
  /**
   * Whether a pull by this name and with these credentials gets the blob, and the blob has the
   * described size: what the registry says, without the bytes, and at most 5 minutes old. False for
   * whatever else it answers. Rejects only when the signal ends it.
   */
  hasBlob(
    reference: ImageReference,
    blob: Descriptor,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<boolean>;
  /** Opens a blob from byte `offset` on. The caller checks its digest. */
  openBlob(
    reference: ImageReference,
    blob: Descriptor,
    options: {
      readonly auth: RegistryAuth | undefined;
      readonly offset: bigint;
      readonly signal: AbortSignal;
    },
  ): Promise<BlobStream>;
}
