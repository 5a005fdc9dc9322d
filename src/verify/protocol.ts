// What the daemon and the verifier say to each other: one request as JSON on stdin, one answer on stdout.

/** A file of the policy: its name for messages, and its text. */
export interface TrustFile {
  readonly name: string;
  readonly text: string;
}

/** A keyless signer. Exactly one of `subject` and `subjectRegexp` is not empty. */
export interface TrustedIdentity {
  readonly issuer: string;
  readonly subject: string;
  /** Must match the whole subject. */
  readonly subjectRegexp: string;
  /** The subject must be an e-mail address; it may be a URI, too, where absent. */
  readonly isEmail?: true;
}

/** Who may sign. A signature by one of the keys or identities is valid. */
export interface Trust {
  /** PEM public keys. */
  readonly keys: readonly TrustFile[];
  readonly identities: readonly TrustedIdentity[];
  /** A trusted_root.json of sigstore. */
  readonly trustedRoot: TrustFile | undefined;
  /** PEM certificates: each file is one chain, from the authority that issues up to its root. */
  readonly fulcioRoots: readonly TrustFile[];
  /** PEM public keys of transparency logs. */
  readonly rekorKeys: readonly TrustFile[];
  /** PEM public keys of certificate transparency logs. With one, certificates need a proof of such a log. */
  readonly ctKeys: readonly TrustFile[];
  /** Whether a signature must be in a transparency log; "auto": if a key of one is known. */
  readonly transparencyLog: "auto" | "require" | "ignore";
  /** The predicate types of in-toto statements that count as signatures. */
  readonly predicateTypes: readonly string[];
}

/** A signature as it was found. Binary content is base64. */
export type SignatureToCheck =
  | {
      readonly kind: "simple-signing";
      readonly payload: string;
      readonly signature: string;
      readonly certificate: string;
      readonly chain: string;
      readonly rekorBundle: string;
      readonly timestamp: string;
    }
  | { readonly kind: "bundle"; readonly json: string; readonly artifact: string };

/** What the verifier is asked. */
export interface CheckRequest {
  /** Digests of the image, of its index and of its manifest. A signature counts if it is of one of them. */
  readonly digests: readonly string[];
  readonly trust: Trust;
  readonly signatures: readonly SignatureToCheck[];
}

/** What it says of each signature, in their order. */
export interface SignatureResult {
  /** The signature is good, by a trusted key or identity, and of one of the digests. */
  readonly valid: boolean;
  /** The key or identity that it is by, as far as that is known. */
  readonly signer: string;
  /** Why it is not valid; empty for a valid one. */
  readonly reason: string;
  /**
   * The repository or image name that the signed content names (`docker-reference`, or the name of a statement's
   * subject); empty for none. Whether it is the right one is the caller's question.
   */
  readonly signedName: string;
}

/** The answer: results, or what is wrong with the trust itself. */
export type CheckAnswer =
  | { readonly results: readonly SignatureResult[] }
  | { readonly error: string };
