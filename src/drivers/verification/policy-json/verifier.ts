import { createHash } from "node:crypto";

import {
  formatReference,
  type CheckedSignature,
  type ImageReference,
  type ImageToVerify,
  type ImageVerifier,
  type SignatureSource,
  type Verdict,
} from "../../../core/image/index.ts";
import { type Evaluation, readKeys } from "./evaluation.ts";
import { acceptsAnything, requirementsOf } from "./policy.ts";
import { PolicyFiles, type ReadPolicy } from "./policy-files.ts";
import { registriesState } from "./registries-d.ts";
import type { Requirement } from "./requirement.ts";
import { evaluateSignedBy, type GpgSettings } from "./signed-by.ts";
import { evaluateSigstoreSigned, type SigstoreSettings } from "./sigstore-signed.ts";

const notRequired = "no signature is required";
const noPolicy: Verdict = {
  decision: "none",
  policy: "policy.json",
  reason: "there is none for these pods",
  signatures: [],
};
const shownReasons = 3;
const keptSignatures = 10;

export interface PolicyJsonOptions extends GpgSettings, SigstoreSettings {
  /** The policy of all pods; empty for none. */
  readonly path: string;
  /** The directory with policies of namespaces; empty for none. */
  readonly directory: string;
}

/** Decides by containers-policy.json(5), as CRI-O, Podman and Skopeo do. */
export class PolicyJsonVerifier implements ImageVerifier {
  readonly name = "policy.json";
  readonly #options: PolicyJsonOptions;
  readonly #files: PolicyFiles;

  constructor(options: PolicyJsonOptions) {
    this.#options = options;
    this.#files = new PolicyFiles(options);
  }

  async generation(): Promise<string> {
    const states = await this.#files.state();
    const registries = await registriesState(this.#options.registriesDirectory);
    return createHash("sha256")
      .update(JSON.stringify([states, registries]))
      .digest("hex");
  }

  /** The verdict where no requirement needs a signature, or one of them rejects all images. */
  async decideByName({
    reference,
    namespace,
  }: Pick<ImageToVerify, "reference" | "namespace">): Promise<Verdict | undefined> {
    let read: ReadPolicy | undefined;
    try {
      read = await this.#files.policyOf(namespace);
    } catch {
      return undefined; // verify() says why.
    }
    if (read === undefined) return noPolicy;
    const requirements = requirementsOf(read.policy, reference);
    const rejecting = requirements.find(({ type }) => type === "reject");
    if (rejecting !== undefined) {
      return verdictOf("rejected", rejecting, rejectedByName(reference), []);
    }
    const needsSignature = requirements.some(({ type }) => type !== "insecureAcceptAnything");
    return needsSignature ? undefined : verdictOf("accepted", requirements[0], notRequired, []);
  }

  async acceptsEveryName(namespace: string): Promise<boolean> {
    const read = await this.#files.policyOf(namespace);
    return read === undefined || acceptsAnything(read.policy);
  }

  /**
   * All requirements of the most specific scope must be satisfied. `failed-precondition` for a policy or
   * key that cannot be used, or a missing gpg; `unavailable` for a store of signatures that does not answer.
   */
  async verify(
    image: ImageToVerify,
    source: SignatureSource,
    signal: AbortSignal,
  ): Promise<Verdict> {
    const read = await this.#files.policyOf(image.namespace);
    if (read === undefined) return noPolicy;
    const requirements = requirementsOf(read.policy, image.reference);
    const signatures: CheckedSignature[] = [];
    const reasons: string[] = [];
    for (const requirement of requirements) {
      const evaluation = await this.#evaluate(requirement, image, source, signal);
      signatures.push(...evaluation.signatures);
      reasons.push(evaluation.reason);
      if (evaluation.accepted) continue;
      const reason = refusalOf(requirement, evaluation, image);
      return verdictOf("rejected", requirement, reason, signatures);
    }
    const [first] = requirements;
    return verdictOf("accepted", first, reasons.join("; "), signatures);
  }

  async #evaluate(
    requirement: Requirement,
    image: ImageToVerify,
    source: SignatureSource,
    signal: AbortSignal,
  ): Promise<Evaluation> {
    switch (requirement.type) {
      case "insecureAcceptAnything":
        return { accepted: true, reason: notRequired, wanted: "", signatures: [] };
      case "reject":
      case "signedBaseLayer":
        return { accepted: false, reason: "", wanted: "", signatures: [] };
      case "signedBy": {
        const keys = await readKeys(requirement.keys, "keyring");
        return evaluateSignedBy(requirement, image, { ...this.#options, keys, signal });
      }
      case "sigstoreSigned": {
        return evaluateSigstoreSigned(requirement, image, { ...this.#options, source, signal });
      }
    }
  }
}

function verdictOf(
  decision: "accepted" | "rejected",
  requirement: Requirement | undefined,
  reason: string,
  signatures: readonly CheckedSignature[],
): Verdict {
  const policy = `${requirement?.where ?? "policy.json"} (${requirement?.type ?? ""})`;
  return { decision, policy, reason, signatures: signatures.slice(0, keptSignatures) };
}

function rejectedByName(reference: ImageReference): string {
  return `all images of this scope are rejected; to allow "${formatReference(reference)}", add a scope with other requirements to the policy`;
}

/** Which image does not satisfy what, why, and what to do next. */
function refusalOf(
  requirement: Requirement,
  { reason, wanted, signatures }: Evaluation,
  { reference, target, manifest }: ImageToVerify,
): string {
  switch (requirement.type) {
    case "reject":
      return `${target.digest}: ${rejectedByName(reference)}`;
    case "signedBaseLayer":
      return `nothing can satisfy signedBaseLayer, so ${target.digest} is rejected; use signedBy or sigstoreSigned`;
    case "insecureAcceptAnything":
    case "signedBy":
    case "sigstoreSigned": {
      const platform = manifest.digest === target.digest ? "" : ` (manifest ${manifest.digest})`;
      const why = signatures
        .slice(0, shownReasons)
        .map(({ digest, reason: detail }) => `${digest.slice(0, 19)}: ${detail}`);
      const more = signatures.length > shownReasons ? ["..."] : [];
      const details = why.length === 0 ? "" : ` (${[...why, ...more].join("; ")})`;
      return `${target.digest}${platform} needs a signature ${wanted}; ${reason}${details}; sign the image, or change the policy; davit verify -n NAMESPACE IMAGE shows more`;
    }
  }
}
