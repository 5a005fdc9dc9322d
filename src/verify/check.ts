import { messageOf } from "../base/errors.ts";
import { bundleCandidate } from "./bundle.ts";
import type { Candidate } from "./candidate.ts";
import { type Claims, shown } from "./claims.ts";
import type { CheckAnswer, CheckRequest, SignatureResult, SignatureToCheck } from "./protocol.ts";
import { claimedSigner, signerOf } from "./signer.ts";
import { simpleCandidate } from "./simple-signing.ts";
import { type ParsedTrust, parseTrust } from "./trust.ts";

/** Checks the signatures of a request. Never throws: what cannot be read is not valid. */
export function checkSignatures(request: CheckRequest): CheckAnswer {
  let trust: ParsedTrust;
  try {
    trust = parseTrust(request.trust);
  } catch (error) {
    return { error: messageOf(error) };
  }
  const { digests } = request;
  return { results: request.signatures.map((each) => checkOne(each, trust, digests)) };
}

function checkOne(
  signature: SignatureToCheck,
  trust: ParsedTrust,
  digests: readonly string[],
): SignatureResult {
  let candidate: Candidate;
  let signer: string;
  try {
    candidate = read(signature, trust, digests);
    signer = claimedSigner(candidate);
  } catch (error) {
    return invalid("", "", `it cannot be read: ${messageOf(error).slice(0, 200)}`);
  }
  let claims: Claims | undefined;
  try {
    claims = candidate.claims();
    // First who, then what: what a stranger says is not interesting.
    signer = signerOf(candidate, trust);
    const { digest, name: signedName } = claims;
    if (digests.includes(digest)) return { valid: true, signer, reason: "", signedName };
    return invalid(signer, signedName, `it is of ${shown(digest)}, another image`);
  } catch (error) {
    return invalid(signer, claims?.name ?? "", messageOf(error));
  }
}

function read(
  signature: SignatureToCheck,
  { predicateTypes }: ParsedTrust,
  digests: readonly string[],
): Candidate {
  if (signature.kind === "simple-signing") return simpleCandidate(signature);
  return bundleCandidate(signature, predicateTypes, digests);
}

function invalid(signer: string, signedName: string, reason: string): SignatureResult {
  return { valid: false, signer, reason, signedName };
}
