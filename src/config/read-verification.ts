import type { VerificationConfig, VerificationPolicy } from "./config.ts";
import type { Finding } from "./finding.ts";
import { errorOfPattern } from "./image-patterns.ts";

/** Adds the errors in the combinations of settings of [images.verification]. */
export function checkVerification({ policies }: VerificationConfig, findings: Finding[]): void {
  for (const [at, policy] of policies.entries()) {
    const error = errorOf(policy);
    if (error === undefined) continue;
    const key = "images.verification.policies";
    findings.push({ key, message: `"${key}": policy ${at + 1}${namesOf(policy)} ${error}` });
  }
}

function namesOf({ images }: VerificationPolicy): string {
  return images.length === 0 ? "" : ` (images = ${JSON.stringify(images)})`;
}

function errorOf(policy: VerificationPolicy): string | undefined {
  const { images, action, keys, identities } = policy;
  if (images.length === 0) return 'has no images: set them, for example to ["**"]';
  const wrong = images.map(errorOfPattern).find((error) => error !== undefined);
  if (wrong !== undefined) return wrong;
  const hasSigners = keys.length > 0 || identities.length > 0;
  if (action === "verify") return hasSigners ? errorOfTrust(policy) : "has no keys or identities";
  return hasSigners ? `has action = "${action}", which needs no keys or identities` : undefined;
}

function errorOfTrust(policy: VerificationPolicy): string | undefined {
  const { identities, trustedRoot, fulcioRoots, rekorKeys } = policy;
  if (policy.predicateTypes.length === 0) return "has no predicate_types";
  if (trustedRoot !== "") return undefined;
  const hasLog = rekorKeys.length > 0;
  if (policy.transparencyLog === "require" && !hasLog) {
    return "requires a transparency log without a key of one: set trusted_root or rekor_keys";
  }
  if (identities.length === 0) return undefined;
  if (fulcioRoots.length === 0) {
    return "has identities without certificate authorities: set trusted_root or fulcio_roots";
  }
  // A certificate is valid for minutes: without a trusted time of the signature it has expired.
  if (hasLog && policy.transparencyLog !== "ignore") return undefined;
  return "has identities without a trusted time of their signatures: set trusted_root, or rekor_keys and transparency_log";
}
