import { wrap } from "../../../base/errors.ts";
import {
  type CheckedSignature,
  type FoundSignature,
  type ImageReference,
  type ImageToVerify,
  type ImageVerifier,
  parseReference,
  repositoryName,
  type SignatureSource,
  type Verdict,
} from "../../../core/image/index.ts";
import type { SignatureResult } from "../../../verify/protocol.ts";
import { nameOfPolicy, policyFor, type SigstorePolicy, wantedSigners } from "./policies.ts";
import type { SignatureChecker } from "./signature-checker.ts";
import { TrustFiles } from "./trust-files.ts";

/** The settings of [images.verification] for this verifier. */
export interface SigstoreSettings {
  readonly policies: readonly SigstorePolicy[];
  readonly otherImages: "accept" | "reject";
}

// Signatures whose reasons are in the message of a rejection.
const explainedSignatures = 3;

/** Verifies images by the policies of the configuration: signatures of cosign and sigstore. */
export class SigstoreVerifier implements ImageVerifier {
  readonly name = "sigstore";
  readonly #settings: SigstoreSettings;
  readonly #checker: SignatureChecker;
  readonly #files: TrustFiles;

  /** Reads and parses all that the policies trust. `failed-precondition` that names the policy and the file. */
  static async open(
    settings: SigstoreSettings,
    checker: SignatureChecker,
  ): Promise<SigstoreVerifier> {
    const verifier = new SigstoreVerifier(settings, checker);
    await verifier.generation();
    await verifier.#checkTrust();
    return verifier;
  }

  private constructor(settings: SigstoreSettings, checker: SignatureChecker) {
    this.#settings = settings;
    this.#checker = checker;
    this.#files = new TrustFiles(settings.policies);
  }

  async generation(): Promise<string> {
    return await this.#files.generation();
  }

  decideByName({
    reference,
    namespace,
  }: Pick<ImageToVerify, "reference" | "namespace">): Verdict | undefined {
    const { policies, otherImages } = this.#settings;
    const index = policyFor(policies, reference, namespace);
    const policy = policies[index];
    if (policy === undefined) return ofOthers(otherImages);
    if (policy.action === "verify") return undefined;
    const decision = policy.action === "accept" ? "accepted" : "rejected";
    const reason = `its action is "${policy.action}"`;
    return { decision, policy: nameOfPolicy(policy, index), reason, signatures: [] };
  }

  acceptsEveryName(): boolean {
    const { policies, otherImages } = this.#settings;
    return otherImages === "accept" && policies.every(({ action }) => action === "accept");
  }

  async verify(
    image: ImageToVerify,
    source: SignatureSource,
    signal: AbortSignal,
  ): Promise<Verdict> {
    const { policies } = this.#settings;
    const index = policyFor(policies, image.reference, image.namespace);
    const policy = policies[index];
    const byName = this.decideByName(image);
    if (policy === undefined || byName !== undefined) return byName ?? ofOthers("reject");
    const name = nameOfPolicy(policy, index);
    const found = await source.signatures(signal);
    // The files may have changed since the last question.
    await this.generation();
    const digests = [...new Set([image.target.digest, image.manifest.digest])];
    const trust = this.#files.trustOf(policy);
    const results =
      found.length === 0
        ? []
        : await this.#checker.check({ digests, trust, signatures: found }, signal);
    const signatures = found.map((each, at) => checked(each, results[at], image, policy));
    return { policy: name, signatures, ...decide(policy, digests, signatures) };
  }

  async #checkTrust(): Promise<void> {
    const signal = new AbortController().signal;
    for (const [index, policy] of this.#settings.policies.entries()) {
      if (policy.action !== "verify") continue;
      try {
        const trust = this.#files.trustOf(policy);
        await this.#checker.check({ digests: [], trust, signatures: [] }, signal);
      } catch (error) {
        throw wrap(`read ${nameOfPolicy(policy, index)}`, error);
      }
    }
  }
}

function ofOthers(otherImages: SigstoreSettings["otherImages"]): Verdict {
  const policy = `images.verification.other_images = "${otherImages}"`;
  const none = { policy, signatures: [] };
  if (otherImages === "accept") return { ...none, decision: "none", reason: "no policy is for it" };
  const reason =
    "none of images.verification.policies is for it: add one, or set other_images to accept";
  return { ...none, decision: "rejected", reason };
}

function checked(
  { digest, kind: format }: FoundSignature,
  result: SignatureResult | undefined,
  { reference }: ImageToVerify,
  { signedRepository }: SigstorePolicy,
): CheckedSignature {
  const {
    valid = false,
    signer = "",
    reason = "it was not checked",
    signedName = "",
  } = result ?? {};
  const common = { digest, format, signer };
  if (!valid || signedRepository === "ignore" || signedName === "") {
    return { ...common, valid, reason };
  }
  if (isSameRepository(signedName, reference)) return { ...common, valid, reason };
  const shown = JSON.stringify(signedName.slice(0, 200)).replace(/[^\x20-\x7e]/g, "?");
  const why = `it is for ${shown}, another repository (signed_repository = "ignore" accepts copies of images)`;
  return { ...common, valid: false, reason: why };
}

function isSameRepository(signedName: string, reference: ImageReference): boolean {
  try {
    return repositoryName(parseReference(signedName)) === repositoryName(reference);
  } catch {
    return false;
  }
}

function decide(
  policy: SigstorePolicy,
  digests: readonly string[],
  signatures: readonly CheckedSignature[],
): Pick<Verdict, "decision" | "reason"> {
  const good = signatures.find(({ valid }) => valid);
  if (good !== undefined) {
    return { decision: "accepted", reason: `signature ${good.digest} by ${good.signer}` };
  }
  const of = digests.join(" or ");
  const wanted = `it needs a signature of ${of} by ${wantedSigners(policy)}`;
  const next = "sign the image, or change the policy; davit verify -n NAMESPACE IMAGE shows more";
  if (signatures.length === 0) {
    return { decision: "rejected", reason: `it has no signature: ${wanted}; ${next}` };
  }
  const reasons = signatures
    .slice(0, explainedSignatures)
    .map(({ digest, reason }) => `signature ${digest}: ${reason}`);
  const rest = signatures.length - reasons.length;
  const all = [...reasons, ...(rest > 0 ? [`${rest} more do not count either`] : [])].join("; ");
  return { decision: "rejected", reason: `${wanted}; ${all}; ${next}` };
}
