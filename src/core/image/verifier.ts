import type { Digest } from "../../base/digest.ts";
import type { ImageReference } from "./reference.ts";
import type { Descriptor, RegistryAuth } from "./source.ts";

/** What a verifier decides about: an image, by one name and for the pods of one namespace. */
export interface ImageToVerify {
  /** The name that the client uses: of a tag, of a digest, or of both. */
  readonly reference: ImageReference;
  /** What the name resolved to: the index, if any, else the manifest. */
  readonly target: Descriptor;
  /** The manifest for this node's platform. The same as `target` for an image without index. */
  readonly manifest: Descriptor;
  /** The Kubernetes namespace of the pod; empty where the client names none. */
  readonly namespace: string;
}

/**
 * A signature in the format of cosign's tags and of containers/image: the payload is a simple signing JSON document,
 * the other parts are from the annotations of its layer. Nothing in it is checked but its size and the digest of the payload.
 */
export interface SimpleSignature {
  readonly kind: "simple-signing";
  /** The image that it is attached to: of the index or of the manifest. */
  readonly of: Digest;
  /** Digest of the payload, which identifies the signature in messages. */
  readonly digest: Digest;
  readonly payload: Uint8Array;
  /** Base64. */
  readonly signature: string;
  /** The leaf certificate and the rest of its chain as PEM; empty for a signature by a key. */
  readonly certificate: string;
  readonly chain: string;
  /** The entry in Rekor with its signed timestamp, as JSON; empty for none. */
  readonly rekorBundle: string;
  /** A signed timestamp (RFC 3161) as JSON; empty for none. */
  readonly timestamp: string;
}

/** A sigstore bundle that refers to an image. Nothing in it is checked but its size and digest. */
export interface BundleSignature {
  readonly kind: "bundle";
  readonly of: Digest;
  /** Digest of the bundle. */
  readonly digest: Digest;
  /** JSON. */
  readonly json: string;
  /** The bytes of the index or manifest `of`, if the bundle signs those themselves. */
  readonly artifact?: Uint8Array;
}

/** A signature that was found. Whoever may write to the registry chose its content. */
export type FoundSignature = SimpleSignature | BundleSignature;

/** The signatures of one image in its registry or on this node. Asking twice asks the registry once. */
export interface SignatureSource {
  /**
   * The signatures of the index and of the manifest, a bounded number of them; empty for none.
   * `unavailable` for a registry that does not answer, `data-loss` for what is not what its digest says.
   */
  signatures(signal: AbortSignal): Promise<readonly FoundSignature[]>;
}

/** Where the signatures of images are found: implemented by the registry. */
export interface SignatureRegistry {
  /** Reads nothing yet. The image's repository is that of the reference. */
  signaturesOf(
    image: Pick<ImageToVerify, "reference" | "target" | "manifest">,
    auth: RegistryAuth | undefined,
  ): SignatureSource;
}

/** What a verifier found out about one signature. */
export interface CheckedSignature {
  readonly digest: Digest;
  /** `simple-signing`, `bundle` or another format of the verifier's. */
  readonly format: string;
  /** By which key or identity it was made, as far as that is known. */
  readonly signer: string;
  readonly valid: boolean;
  /** Why it does not count; empty for a valid one. */
  readonly reason: string;
}

/** The decision of a verifier. */
export interface Verdict {
  /** `none`: the verifier has no opinion about this image, which alone does not reject it. */
  readonly decision: "accepted" | "rejected" | "none";
  /** Which rule of which file decided: `policy 2 of images.verification.policies (images = ...)`. */
  readonly policy: string;
  /** One line: why. Of a rejection also which key or identity was wanted for which digest, and what to do next. */
  readonly reason: string;
  /** At most a few of them; empty where the rule needs no signature. */
  readonly signatures: readonly CheckedSignature[];
}

/** What is kept of an image that was verified by a name of one repository, so that its next start needs no registry. */
export interface KeptVerification {
  readonly target: Descriptor;
  readonly manifest: Descriptor;
  readonly signatures: readonly FoundSignature[];
  /** A good signature was found; of others a policy only did not want one. */
  readonly isSigned: boolean;
}

/** Keeps on this node what verified images were verified by. Losing it is harmless: registries have it. */
export interface KeptVerifications {
  /** Undefined where nothing is kept, or it cannot be read. */
  load(image: Digest, repository: string): Promise<KeptVerification | undefined>;
  /** Never rejects. Keeps the first signatures only, if they are very large together. */
  save(image: Digest, repository: string, kept: KeptVerification): Promise<void>;
  /** Never rejects. */
  remove(image: Digest): Promise<void>;
  /** Removes what is kept of other images. Never rejects. */
  sweep(images: ReadonlySet<Digest>): Promise<void>;
}

/** One way to decide which images may be used. Several of them must all agree. */
export interface ImageVerifier {
  /** `sigstore`, `bindir` or `policy.json`. */
  readonly name: string;
  /**
   * A text that changes when the policy does, for example the digest of its files. Verdicts are remembered
   * as long as it stays the same. Called before each start of a container: cheap. Rejects when the
   * policy cannot be read, which rejects the image.
   */
  generation(): Promise<string>;
  /**
   * The verdict, if the name and the namespace alone decide it, so that an image whose digests are not known
   * needs no registry. Undefined if they do not.
   */
  decideByName?(
    image: Pick<ImageToVerify, "reference" | "namespace">,
  ): Verdict | undefined | Promise<Verdict | undefined>;
  /**
   * Whether images of every name are accepted for the pods of a namespace, so that one without a name is, too.
   * Rejects as `verify`.
   */
  acceptsEveryName(namespace: string): boolean | Promise<boolean>;
  /**
   * Decides. Rejects when no decision is possible, which rejects the image: `unavailable` if a later try
   * may succeed.
   */
  verify(image: ImageToVerify, source: SignatureSource, signal: AbortSignal): Promise<Verdict>;
}

/** Before the message of a pull that fails because the policy does not allow the image (cri-api, pkg/errors). */
export const signatureValidationFailed = "SignatureValidationFailed: ";
