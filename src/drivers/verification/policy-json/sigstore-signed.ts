import { RuntimeError } from "../../../base/errors.ts";
import type {
  CheckedSignature,
  ImageToVerify,
  SignatureSource,
  SimpleSignature,
} from "../../../core/image/index.ts";
import type { SignatureResult, Trust, TrustFile } from "../../../verify/protocol.ts";
import type { SignatureChecker } from "../sigstore/signature-checker.ts";
import { type Evaluation, readKeys } from "./evaluation.ts";
import type { KeySource, Requirement, SigstoreSigned } from "./requirement.ts";
import { describeIdentity, matchesIdentity } from "./signed-identity.ts";

/** Checks the requirement `sigstoreSigned`: one signature of cosign is enough. Rejects as the checker does. */
export async function evaluateSigstoreSigned(
  requirement: SigstoreSigned & Requirement,
  image: ImageToVerify,
  options: {
    readonly source: SignatureSource;
    readonly checker: SignatureChecker;
    readonly signal: AbortSignal;
  },
): Promise<Evaluation> {
  const { source, checker, signal } = options;
  const { trust, wanted } = await trustOf(requirement);
  const all = await source.signatures(signal);
  // As with containers/image, bundles do not count: they do not say which name they sign.
  const found = all.filter((signature) => signature.kind === "simple-signing");
  if (found.length === 0) {
    const others = all.length === 0 ? "" : `, only ${all.length} in the format of bundles`;
    const reason = `the registry has no signature of cosign for it${others}`;
    return { accepted: false, reason, wanted, signatures: [] };
  }
  const digests = [...new Set([image.target.digest, image.manifest.digest])];
  const results = await checker.check({ digests, trust, signatures: found }, signal);
  const signatures = found.map((signature, index) =>
    checkedOf(signature, results[index], { requirement, image }),
  );
  const accepted = signatures.some(({ valid }) => valid);
  const reason = accepted ? `signed ${wanted}` : "no signature of cosign counts";
  return { accepted, reason, wanted, signatures };
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

/** The trust of a requirement, in the terms of the process that checks signatures. */
async function trustOf(
  requirement: SigstoreSigned & Requirement,
): Promise<{ readonly trust: Trust; readonly wanted: string }> {
  const { keys = [], fulcio, pki, rekorKeys, where } = requirement;
  if (pki !== undefined) {
    throw new RuntimeError(
      "unimplemented",
      `check ${where}: davit does not verify certificates of "pki"; use "keyPath" or "fulcio"`,
    );
  }
  const keyFiles = await textsOf(keys, "key");
  const trust: Trust = {
    keys: keyFiles,
    identities:
      fulcio === undefined
        ? []
        : [{ issuer: fulcio.oidcIssuer, subject: fulcio.subjectEmail, subjectRegexp: "" }],
    trustedRoot: undefined,
    fulcioRoots: fulcio === undefined ? [] : await textsOf([fulcio.roots], "CA"),
    rekorKeys: await textsOf(rekorKeys ?? [], "Rekor key"),
    ctKeys: [],
    transparencyLog: rekorKeys === undefined ? "ignore" : "require",
    predicateTypes: [],
  };
  const wanted =
    fulcio === undefined
      ? `by ${keyFiles.map(({ name }) => name).join(" or ")}`
      : `by ${fulcio.subjectEmail} of ${fulcio.oidcIssuer}`;
  return { trust, wanted };
}

async function textsOf(sources: readonly KeySource[], what: string): Promise<readonly TrustFile[]> {
  const files = await readKeys(sources, what);
  return files.map(({ name, bytes }) => ({ name, text: bytes.toString("utf8") }));
}
