import type { SignerIdentity, VerificationConfig, VerificationPolicy } from "./config.ts";
import {
  absolutePathsOrNone,
  choice,
  integer,
  isTable,
  optionalPath,
  type Section,
  type Setting,
  texts,
} from "./setting.ts";

/** What [images.verification] is for. */
export const verificationDoc =
  "Which images may be pulled and started. Policies for signatures are in [[images.verification.policies]], see docs/configuration.md and docs/operations.md.";

/** The settings of [images.verification], without its policies. */
export const verificationSection: Section<Omit<VerificationConfig, "policies">> = {
  bindir: optionalPath({
    default: "",
    doc: "Directory with programs that verify images, as for containerd's bindir verifier: all of them must accept an image. Empty for none. See docs/operations.md.",
  }),
  bindirTimeoutSeconds: integer({
    default: 10,
    min: 1,
    max: 600,
    doc: "Timeout of one of these programs, in seconds. One that runs longer is killed, and the image is rejected.",
  }),
  maxVerifiers: integer({
    default: 10,
    min: 1,
    max: 100,
    doc: "Maximum number of these programs. With more of them in the directory, images are rejected.",
  }),
  policyJson: optionalPath({
    default: "/etc/containers/policy.json",
    doc: "A containers-policy.json(5), used where the file exists when davit starts; one at another path must exist. Empty for none. See docs/operations.md.",
  }),
  policyJsonDirectory: optionalPath({
    default: "",
    doc: "Directory with files NAMESPACE.json in the same format, which replace policy_json for the pods of that namespace. Empty for none.",
  }),
  loaded: choice({
    of: ["verify", "accept"],
    default: "verify",
    doc: 'Images from archives (preload_dir, davit load), which have no signatures of their own: "verify" looks for signatures in the registry that their name has, "accept" accepts them.',
  }),
  otherImages: choice({
    of: ["accept", "reject"],
    default: "accept",
    doc: "What happens to images that none of the policies is for. Without policies it has no effect.",
  }),
};

/** The settings of each [[images.verification.policies]]. */
export const policySection: Section<VerificationPolicy> = {
  images: texts({
    default: [],
    doc: 'Patterns of full names registry/repository that the policy is for, such as "registry.example/team/*" or "docker.io/library/nginx": * stands for any characters except "/", ** for any characters. The host is compared in lower case and without the port 443. Required. The first policy that is for an image and its namespace decides.',
  }),
  namespaces: texts({
    default: [],
    doc: "Patterns of Kubernetes namespaces whose pods the policy is for. [] for all, and for clients that name no namespace.",
  }),
  action: choice({
    of: ["verify", "accept", "reject"],
    default: "verify",
    doc: '"verify" accepts images with a signature by one of keys or identities, "accept" and "reject" need no signature.',
  }),
  keys: absolutePathsOrNone({
    default: [],
    doc: "PEM files with public keys (ECDSA, RSA, Ed25519), such as cosign.pub.",
  }),
  identities: identities({
    default: [],
    doc: "Keyless signers: { issuer, subject } or { issuer, subject_regexp }, where the expression must match the whole subject, within 250 ms. A certificate must have exactly one subject, a URI or an e-mail address. Requires trusted_root or fulcio_roots.",
  }),
  trustedRoot: optionalPath({
    default: "",
    doc: "A trusted_root.json of sigstore with certificate authorities, logs and timestamp authorities. Empty for none.",
  }),
  fulcioRoots: absolutePathsOrNone({
    default: [],
    doc: "PEM files with certificate authorities of keyless signers, each with its chain up to the root. Those for other purposes than code signing, with constraints of names, or with an unknown critical extension are not trusted.",
  }),
  rekorKeys: absolutePathsOrNone({
    default: [],
    doc: "PEM files with public keys of transparency logs (Rekor).",
  }),
  ctKeys: absolutePathsOrNone({
    default: [],
    doc: "PEM files with public keys of certificate transparency logs. With one, certificates need a proof of such a log.",
  }),
  transparencyLog: choice({
    of: ["auto", "require", "ignore"],
    default: "auto",
    doc: 'Whether a signature must be in a transparency log: "auto" if rekor_keys or trusted_root has a key of one. With "ignore", keyless signatures need a signed timestamp.',
  }),
  signedRepository: choice({
    of: ["match", "ignore"],
    default: "match",
    doc: '"match" rejects a signature that names another repository than the image has, "ignore" accepts it, as cosign does: for images that were copied with their signatures.',
  }),
  predicateTypes: texts({
    default: ["https://sigstore.dev/cosign/sign/v1"],
    doc: "The predicate types of in-toto statements that count as signatures. Other attestations are ignored.",
  }),
};

function identities(about: {
  readonly doc: string;
  readonly default: readonly SignerIdentity[];
}): Setting<readonly SignerIdentity[]> {
  const allowed =
    'a list of tables { issuer = "...", subject = "..." } or { issuer = "...", subject_regexp = "..." }';
  return {
    ...about,
    read: (raw) => {
      const items = Array.isArray(raw) ? raw.map(identityOf) : [undefined];
      return items.every((item) => item !== undefined) ? { value: items } : { allowed };
    },
  };
}

function identityOf(raw: unknown): SignerIdentity | undefined {
  if (!isTable(raw)) return undefined;
  const { issuer, subject = "", subject_regexp: subjectRegexp = "", ...others } = raw;
  if (Object.keys(others).length > 0 || typeof issuer !== "string" || issuer === "")
    return undefined;
  if (typeof subject !== "string" || typeof subjectRegexp !== "string") return undefined;
  if ((subject === "") === (subjectRegexp === "") || !isRegexp(subjectRegexp)) return undefined;
  return { issuer, subject, subjectRegexp };
}

function isRegexp(text: string): boolean {
  try {
    return new RegExp(text, "v") instanceof RegExp;
  } catch {
    return false;
  }
}
