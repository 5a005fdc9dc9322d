import type { Digest } from "../../base/digest.ts";
import { kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import {
  formatReference,
  type ImageReference,
  type ImageToVerify,
  type ImageVerifier,
  signatureValidationFailed,
  type Verdict,
} from "../../core/image/index.ts";

/** What one verifier says. */
export interface VerifierOpinion {
  readonly verifier: string;
  /** Undefined where it could not decide, for the reason in `error`. */
  readonly verdict: Verdict | undefined;
  readonly error: RuntimeError | undefined;
}

/** The opinions of all verifiers about an image by one name. */
export interface VerificationReport {
  /** The full name. */
  readonly name: string;
  /** Undefined where they are not known and were not needed. */
  readonly target: Digest | undefined;
  readonly manifest: Digest | undefined;
  readonly opinions: readonly VerifierOpinion[];
}

/** The report of some opinions. */
export function reportOf(
  reference: ImageReference,
  opinions: readonly VerifierOpinion[],
  image?: Pick<ImageToVerify, "target" | "manifest">,
): VerificationReport {
  const name = formatReference(reference);
  return { name, target: image?.target.digest, manifest: image?.manifest.digest, opinions };
}

/** The report of an image without a name, about which no policy says anything: accepted only where every name is. */
export async function reportWithoutName(
  verifiers: readonly ImageVerifier[],
  image: Digest,
  namespace: string,
): Promise<VerificationReport> {
  const opinions: VerifierOpinion[] = [];
  for (const verifier of verifiers) {
    opinions.push({ verifier: verifier.name, ...(await withoutName(verifier, image, namespace)) });
  }
  return { name: image, target: undefined, manifest: undefined, opinions };
}

async function withoutName(
  verifier: ImageVerifier,
  image: Digest,
  namespace: string,
): Promise<Omit<VerifierOpinion, "verifier">> {
  try {
    if (await verifier.acceptsEveryName(namespace)) {
      const reason = "images of every name are accepted";
      const verdict = { decision: "none", policy: "", reason, signatures: [] } as const;
      return { verdict, error: undefined };
    }
    const why = `the image has no name that a policy could be for: run davit tag ${image} NAME`;
    return { verdict: undefined, error: new RuntimeError("failed-precondition", why) };
  } catch (cause) {
    const error = new RuntimeError(kindOf(cause), messageOf(cause), { cause });
    return { verdict: undefined, error };
  }
}

/** Whether all verifiers accept the image, or have nothing to say of it. */
export function isAccepted({ opinions }: VerificationReport): boolean {
  return opinions.every(({ verdict }) => verdict !== undefined && verdict.decision !== "rejected");
}

/** Whether a verifier has found a good signature. */
export function hasGoodSignature({ opinions }: VerificationReport): boolean {
  return opinions.some(({ verdict }) => verdict?.signatures.some(({ valid }) => valid) === true);
}

/** The error for an image that is not accepted; undefined for one that is. A rejection comes before an unknown. */
export function refusalOf(
  doing: string,
  { opinions }: VerificationReport,
): RuntimeError | undefined {
  const rejection = opinions.find(({ verdict }) => verdict?.decision === "rejected");
  if (rejection?.verdict !== undefined) {
    const { policy, reason } = rejection.verdict;
    const text = `${signatureValidationFailed}${doing}: rejected by ${policy}: ${reason}`;
    return new Rejection("permission-denied", text);
  }
  const unknown = opinions.find(({ error }) => error !== undefined);
  return unknown === undefined ? undefined : undecided(doing, unknown.error);
}

/** The error for an image that a policy rejects: not one for which no decision was possible. */
class Rejection extends RuntimeError {}

/** Whether a policy has rejected the image. */
export function isRejection(error: unknown): error is RuntimeError {
  return error instanceof Rejection;
}

/** Throws the error for an image that is not accepted. */
export function refuseUnlessAccepted(doing: string, about: VerificationReport): void {
  const refusal = refusalOf(doing, about);
  if (refusal !== undefined) throw refusal;
}

/** The error where no decision was possible. A registry that does not answer stays what it is for kubelet. */
export function undecided(doing: string, cause: unknown): RuntimeError {
  const kind = kindOf(cause);
  if (kind === "canceled" || kind === "unavailable") {
    return new RuntimeError(kind, `${doing}: ${messageOf(cause)}`, { cause });
  }
  const text = `${signatureValidationFailed}${doing}: it could not be verified: ${messageOf(cause)}`;
  return new RuntimeError("permission-denied", text, { cause });
}
