import { createHash } from "node:crypto";
import { bundleFromJSON } from "@sigstore/bundle";
import { toSignedEntity } from "@sigstore/verify";
import type { Candidate } from "./candidate.ts";
import { type Claims, statementClaims } from "./claims.ts";
import type { SignatureToCheck } from "./protocol.ts";

type BundleToCheck = Extract<SignatureToCheck, { readonly kind: "bundle" }>;

/** A sigstore bundle: a DSSE envelope with a statement, or a signature of the manifest's bytes. Throws for a broken one. */
export function bundleCandidate(
  { json, artifact }: BundleToCheck,
  predicateTypes: ReadonlySet<string>,
  digests: readonly string[],
): Candidate {
  const bundle = bundleFromJSON(JSON.parse(json));
  const { content } = bundle;
  const bytes = Buffer.from(artifact, "base64");
  const { signature, key, tlogEntries, timestamps } = toSignedEntity(bundle, bytes);
  const claims = (): Claims => {
    if (content.$case === "dsseEnvelope") {
      return statementClaims(content.dsseEnvelope, predicateTypes, digests);
    }
    // The library compares the digest of the log with that of the bundle, and that with nothing.
    const digest = createHash("sha256").update(bytes).digest();
    if (!content.messageSignature.messageDigest.digest.equals(digest)) {
      throw new Error("it is of other bytes than the image's manifest");
    }
    return { digest: `sha256:${digest.toString("hex")}`, name: "" };
  };
  return {
    content: signature,
    certificate: key.$case === "certificate" ? key.certificate : undefined,
    intermediates: [],
    logEntries: tlogEntries,
    timestamps,
    claims,
  };
}
