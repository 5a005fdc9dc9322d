import type { Digest } from "../../base/digest.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";
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

/** How a layer is encrypted (github.com/containers/ocicrypt), as its manifest says it. Nothing of it is checked. */
export interface LayerEncryption {
  /**
   * The layer's key, which is encrypted for recipients: by the name of the key protocol (`jwe`, `pkcs7`...), the text of
   * its annotation.
   */
  readonly wrappedKeys: ReadonlyMap<string, string>;
  /** The text of the annotation with what is not secret; empty for none. */
  readonly publicOptions: string;
}

/** A pointer to content: manifest, config or layer (image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: bigint;
  /** True for a layer that its registry may lack, and that its manifest says to get from elsewhere. */
  readonly isForeign?: true;
  /** Set for a layer whose bytes are encrypted. */
  readonly encryption?: LayerEncryption;
}

/** What a manifest points to. */
export interface ImageContent {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** Set for an artifact, whose layers are files, and not archives. */
  readonly artifact?: ArtifactContent;
  /** Set for a checkpoint of a container, whose files are in the layers: see `Image.checkpointOf`. */
  readonly checkpointOf?: string;
}

/** An OCI artifact: files with names (image-spec, artifacts-guidance.md). */
export interface ArtifactContent {
  /** The media type that says what it is. Its author chooses it. */
  readonly type: string;
  /** The path of each layer's file: relative, without `.` and `..`, and none is a directory of another. */
  readonly paths: readonly string[];
}

/** The platform of an image, of those that its index has. */
export interface PlatformChoice {
  /** `linux/arm64/v8`; empty for an entry that names none. */
  readonly chosen: string;
  readonly offered: readonly string[];
}

/** A manifest for this node's platform, and the content that it points to. */
export interface ResolvedImage extends ImageContent {
  /** Digest that the name resolved to: of the index, if any, else of the manifest. */
  readonly digest: Digest;
  /** The index that the name resolved to; undefined where that is the manifest. */
  readonly index?: Descriptor | undefined;
  readonly manifest: Descriptor;
  /** Undefined where the name is of a manifest, which is used whatever its platform is. */
  readonly platform?: PlatformChoice | undefined;
}

/** A host that a pull would ask, and with what. */
export interface ExplainedHost {
  /** Host and port. */
  readonly name: string;
  /** The root of its API: `https://mirror.example/v2`. */
  readonly root: string;
  readonly repository: string;
  /** `resolve` for tags, `pull` for content by its digest. */
  readonly capabilities: readonly string[];
  readonly isMirror: boolean;
  /** Any certificate will do, or it is asked without encryption. */
  readonly isInsecure: boolean;
  /** It did not answer lately, and is asked after the others. */
  readonly isAvoided: boolean;
  /** The file that configures it, or `default`. */
  readonly source: string;
  /** Which credentials it would get, or why none; has no secret in it. */
  readonly credentials: string;
}

/** A blob that is being read. Its digest is not checked yet. */
export interface BlobStream extends AsyncDisposable {
  /** Undefined where the source does not know it. */
  readonly sizeBytes: bigint | undefined;
  readonly chunks: AsyncIterable<BlobChunk>;
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

/** Before the message of a pull that fails because a registry does not answer (cri-api, pkg/errors). */
export const registryUnavailable = "RegistryUnavailable: ";

/** Finds images by name. */
export interface ImageSource {
  /**
   * The hosts that a pull would ask, in this order, without asking them. Programs for credentials are
   * run. Rejects for a name that the configuration of this node refuses.
   */
  hosts(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<readonly ExplainedHost[]>;
  /**
   * Finds the manifest for this node's platform, its digest checked. `not-found` for an image that
   * does not exist, `unauthenticated` and `permission-denied` for one that may not be read,
   * `unavailable` for a registry that does not answer (with {@link registryUnavailable} in the message).
   */
  resolve(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<ImageFetcher>;
}
