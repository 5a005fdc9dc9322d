import type { X509Certificate } from "@sigstore/core";
import type { SignedEntity } from "@sigstore/verify";
import type { Claims } from "./claims.ts";

/** A signature that could be read, of any format; nothing in it is verified. */
export interface Candidate {
  readonly content: SignedEntity["signature"];
  /** Of its signer; undefined for a signature by a key. */
  readonly certificate: X509Certificate | undefined;
  /** Certificates that may connect the signer's with an authority. */
  readonly intermediates: readonly X509Certificate[];
  readonly logEntries: SignedEntity["tlogEntries"];
  readonly timestamps: SignedEntity["timestamps"];
  /** What is signed. Throws when that is not a signature of an image. */
  claims(): Claims;
}
