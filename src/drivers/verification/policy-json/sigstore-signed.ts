import { RuntimeError } from "../../../base/errors.ts";
import type {
  CheckedSignature,
  ImageToVerify,
  SignatureSource,
  SimpleSignature,
} from "../../../core/image/index.ts";
import type { SignatureResult, Trust, TrustFile } from "../../../verify/protocol.ts";
import type { SignatureChecker } from "../sigstore/signature-checker.ts";
import { type Evaluation, namesOf, readKeys } from "./evaluation.ts";
import { type TrustedPki, verifyCertificate } from "./pki.ts";
import type { KeySource, PkiIdentity, Requirement, SigstoreSigned } from "./requirement.ts";
import { describeIdentity, matchesIdentity } from "./signed-identity.ts";

/** How signatures of cosign are checked. */
export interface SigstoreSettings {
  readonly checker: SignatureChecker;
  /** Where openssl may have files while it runs. */
  readonly workDirectory: string;
}

type Options = SigstoreSettings & {
  readonly source: SignatureSource;
  readonly signal: AbortSignal;
};

/** Checks the requirement `sigstoreSigned`: one signature of cosign is enough. Rejects as the checker does. */
export async function evaluateSigstoreSigned(
  requirement: SigstoreSigned & Requirement,
  image: ImageToVerify,
  options: Options,
): Promise<Evaluation> {
  const wanted = wantedBy(requirement);
  const all = await options.source.signatures(options.signal);
  // As with containers/image, bundles do not count: they do not say which name they sign.
  const found = all.filter((signature) => signature.kind === "simple-signing");
  if (found.length === 0) {
    const others = all.length === 0 ? "" : `, only ${all.length} in the format of bundles`;
    const reason = `the registry has no signature of cosign for it${others}`;
    return { accepted: false, reason, wanted, signatures: [] };
  }
  const results =
    requirement.pki === undefined
      ? await checkTogether(requirement, { image, found }, options)
      : await checkByPki(requirement.pki, { image, found }, options);
  const signatures = found.map((signature, index) =>
    checkedOf(signature, results[index], { requirement, image }),
  );
  const accepted = signatures.some(({ valid }) => valid);
  const reason = accepted ? `signed ${wanted}` : "no signature of cosign counts";
  return { accepted, reason, wanted, signatures };
}

interface Found {
  readonly image: ImageToVerify;
  readonly found: readonly SimpleSignature[];
}

async function checkTogether(
  requirement: SigstoreSigned,
  { image, found }: Found,
  { checker, signal }: Options,
): Promise<readonly SignatureResult[]> {
  const trust = await trustOf(requirement);
  return checker.check({ digests: digestsOf(image), trust, signatures: found }, signal);
}

/** openssl verifies each certificate, and the checker the signature by its key. */
async function checkByPki(
  identity: PkiIdentity,
  { image, found }: Found,
  { checker, signal, workDirectory: directory }: Options,
): Promise<readonly SignatureResult[]> {
  const { subjectEmail, subjectHostname } = identity;
  const [roots] = await readKeys([identity.roots], "CA");
  const sources = identity.intermediates === undefined ? [] : [identity.intermediates];
  const [intermediates] = await readKeys(sources, "intermediate CA");
  if (roots === undefined) throw new RuntimeError("internal", "read the roots of pki: none");
  const pki: TrustedPki = { roots, intermediates, subjectEmail, subjectHostname };
  const signer = subjectEmail ?? subjectHostname ?? "";
  const results: SignatureResult[] = [];
  for (const signature of found) {
    const { key, reason } = await verifyCertificate(signature, pki, { directory, signal });
    if (key === undefined) {
      results.push({ valid: false, signer: "", reason, signedName: "" });
      continue;
    }
    const trust: Trust = { ...noTrust, keys: [{ name: "its certificate", text: key }] };
    const signatures = [{ ...signature, certificate: "", chain: "" }];
    const [result] = await checker.check({ digests: digestsOf(image), trust, signatures }, signal);
    if (result !== undefined) results.push(result.valid ? { ...result, signer } : result);
  }
  return results;
}

function digestsOf({ target, manifest }: ImageToVerify): readonly string[] {
  return [...new Set([target.digest, manifest.digest])];
}

function checkedOf(
  { digest }: SimpleSignature,
  result: SignatureResult | undefined,
  about: { readonly requirement: SigstoreSigned; readonly image: ImageToVerify },
): CheckedSignature {
  const { requirement, image } = about;
  const base = { digest, format: "cosign", signer: result?.signer ?? "", valid: false };
  if (result?.valid !== true) return { ...base, reason: result?.reason ?? "it was not checked" };
  if (matchesIdentity(requirement.signedIdentity, image.reference, result.signedName)) {
    return { ...base, valid: true, reason: "" };
  }
  const expected = describeIdentity(requirement.signedIdentity, image.reference);
  const isRepository = { type: "matchRepository" } as const;
  const hint = matchesIdentity(isRepository, image.reference, result.signedName)
    ? '; cosign signs no tag, so set "signedIdentity": {"type": "matchRepository"}'
    : "";
  const signed = JSON.stringify(result.signedName.slice(0, 300));
  return { ...base, reason: `it signs ${signed}, not "${expected}"${hint}` };
}

/** Trusts nobody. */
const noTrust: Trust = {
  keys: [],
  identities: [],
  trustedRoot: undefined,
  fulcioRoots: [],
  rekorKeys: [],
  ctKeys: [],
  transparencyLog: "ignore",
  predicateTypes: [],
};

/** The trust of a requirement, in the terms of the process that checks signatures. */
async function trustOf({ keys = [], fulcio, rekorKeys }: SigstoreSigned): Promise<Trust> {
  const trust: Trust = {
    ...noTrust,
    keys: await textsOf(keys, "key"),
    rekorKeys: await textsOf(rekorKeys ?? [], "Rekor key"),
    transparencyLog: rekorKeys === undefined ? "ignore" : "require",
  };
  if (fulcio === undefined) return trust;
  const { oidcIssuer: issuer, subjectEmail: subject } = fulcio;
  return {
    ...trust,
    identities: [{ issuer, subject, subjectRegexp: "", isEmail: true }],
    fulcioRoots: await textsOf([fulcio.roots], "CA"),
  };
}

/** By whom a signature must be. */
function wantedBy({ keys = [], fulcio, pki }: SigstoreSigned): string {
  if (fulcio !== undefined) return `by ${fulcio.subjectEmail} of ${fulcio.oidcIssuer}`;
  if (pki === undefined) return `by ${namesOf(keys, "key").join(" or ")}`;
  const subjects = [pki.subjectEmail, pki.subjectHostname].filter((each) => each !== undefined);
  return `with a certificate for ${subjects.join(" and ")} of ${namesOf([pki.roots], "CA").join("")}`;
}

async function textsOf(sources: readonly KeySource[], what: string): Promise<readonly TrustFile[]> {
  const files = await readKeys(sources, what);
  return files.map(({ name, bytes }) => ({ name, text: bytes.toString("utf8") }));
}
