import { X509Certificate as NodeCertificate } from "node:crypto";
import { EXTENSION_OID_SCT, type X509Certificate } from "@sigstore/core";
import { type SignedEntity, type Signer, type TrustMaterial, Verifier } from "@sigstore/verify";
import { isKind, messageOf } from "../base/errors.ts";
import { withinTimeLimit } from "../base/time-limit.ts";
import type { Candidate } from "./candidate.ts";
import { shown } from "./claims.ts";
import { limitOf, unknownCritical } from "./constraints.ts";
import type { TrustedIdentity } from "./protocol.ts";
import { type SubjectName, subjectNameOf } from "./subject.ts";
import type { ParsedTrust, TrustedKey } from "./trust.ts";

const codeSigning = "1.3.6.1.5.5.7.3.3";
// One pattern takes a few microseconds.
const patternMs = 250;

/** Who has made the signature: `key "FILE"` or an identity. Throws with the reason when it is nobody who is trusted. */
export function signerOf(candidate: Candidate, trust: ParsedTrust): string {
  const key = trust.keys.find((each) => candidate.content.verifySignature(each.key));
  if (key !== undefined) {
    if (trust.needsLog) checkLog(candidate, key, trust);
    return `key "${key.name}"`;
  }
  if (candidate.certificate === undefined) {
    throw new Error(
      trust.keys.length === 0
        ? "it has no certificate, so it is by none of the identities"
        : `it is by none of the keys ${trust.keys.map(({ name }) => `"${name}"`).join(", ")}`,
    );
  }
  const found = identityOf(candidate, candidate.certificate, trust);
  const isTrusted = trust.identities.some((identity) => isOf(found, identity));
  if (isTrusted) return `identity ${shown(found.subject)} of ${shown(found.issuer)}`;
  throw new Error(
    `it is by ${shown(found.subject)} of ${shown(found.issuer)}, which is not one of the identities`,
  );
}

/** The subject of the certificate of a candidate, without any check, for messages. */
export function claimedSigner({ certificate }: Candidate): string {
  if (certificate === undefined) return "";
  return `certificate of ${shown(certificate.subjectAltName)}`;
}

function isOf(found: Identity, trusted: TrustedIdentity): boolean {
  const { issuer, subject, subjectRegexp, isEmail = false } = trusted;
  if (found.issuer !== issuer || found.subject === "") return false;
  if (isEmail && found.kind !== "email") return false;
  if (subject !== "") return found.subject === subject;
  return matches(subjectRegexp, found.subject);
}

/** Whether a pattern matches the whole subject. Throws where that takes long: its holder may have chosen it so. */
function matches(pattern: string, subject: string): boolean {
  const expression = new RegExp(`^(?:${pattern})$`, "v");
  try {
    return withinTimeLimit(patternMs, () => expression.test(subject));
  } catch (error) {
    if (!isKind(error, "deadline-exceeded")) throw error;
    const why = `the subject_regexp ${shown(pattern)} takes more than ${patternMs} ms for its subject`;
    throw new Error(`${why}: do not repeat what repeats`, { cause: error });
  }
}

interface Identity {
  readonly issuer: string;
  readonly subject: string;
  readonly kind: SubjectName["kind"];
}

function checkLog(candidate: Candidate, { key }: TrustedKey, trust: ParsedTrust): void {
  const publicKey = (): ReturnType<TrustMaterial["publicKey"]> => ({
    publicKey: key,
    validFor: () => true,
  });
  const material = { ...materialFor(candidate, trust), publicKey };
  const verifier = new Verifier(material, { tlogThreshold: 1, timestampThreshold: 0 });
  run(verifier, {
    signature: candidate.content,
    key: { $case: "public-key", hint: "" },
    tlogEntries: candidate.logEntries,
    timestamps: candidate.timestamps.filter(({ $case }) => $case === "transparency-log"),
  });
}

/**
 * The identity in a certificate that a trusted authority has issued, and that was valid when the signature was
 * made, by a time of a trusted log or timestamp authority.
 */
function identityOf(candidate: Candidate, leaf: X509Certificate, trust: ParsedTrust): Identity {
  const material = materialFor(candidate, trust);
  const hasCtLogs = material.ctlogs.length > 0;
  const hasAuthorities = material.timestampAuthorities.length > 0;
  const verifier = new Verifier(
    {
      ...material,
      publicKey: () => {
        throw new Error("it has no certificate");
      },
    },
    {
      tlogThreshold: trust.needsLog ? 1 : 0,
      timestampThreshold: 1,
      ctlogThreshold: hasCtLogs ? 1 : 0,
    },
  );
  const { timestamps, logEntries } = candidate;
  const signer = run(verifier, {
    signature: candidate.content,
    key: { $case: "certificate", certificate: hasCtLogs ? leaf : withoutProofs(leaf) },
    tlogEntries: trust.ignoresLogs ? [] : logEntries,
    // As with cosign, the timestamp of an authority counts for nothing where the policy trusts no authority. The
    // library would reject a signature for it, even one whose time is in a trusted log.
    timestamps: timestamps.filter(({ $case }) =>
      $case === "timestamp-authority" ? hasAuthorities : !trust.ignoresLogs,
    ),
  });
  // One for servers, of an authority that has several purposes, says nothing about signatures.
  // Absent without the extension, whatever its type says.
  const purposes: readonly string[] | undefined = new NodeCertificate(leaf.root.toDER()).keyUsage;
  if (!new Set(purposes).has(codeSigning)) {
    throw new Error("its certificate is not for signatures of code");
  }
  const unknown = unknownCritical(leaf);
  if (unknown !== undefined) {
    throw new Error(`its certificate has the unknown critical extension ${unknown}`);
  }
  // The library has the first URI, else the first e-mail address.
  const { kind, name: subject } = subjectNameOf(leaf);
  return { issuer: signer.identity?.extensions?.issuer ?? "", subject, kind };
}

function run(verifier: Verifier, entity: SignedEntity): Signer {
  try {
    return verifier.verify(entity);
  } catch (error) {
    throw new Error(explained(messageOf(error)), { cause: error });
  }
}

const explanations: readonly (readonly [RegExp, string])[] = [
  [
    /^expected \d+ timestamps/,
    "it has no trusted time of a log or timestamp authority, which its certificate needs",
  ],
  [/^expected \d+ tlog entries/, "it is in no trusted transparency log"],
  [/^expected \d+ SCTs/, "its certificate has no proof of a certificate transparency log"],
  [/^SCT verification failed/, "its certificate is in no trusted certificate transparency log"],
  [
    /^Failed to verify certificate chain/,
    "its certificate is of no trusted authority, or was not valid when it was signed",
  ],
  [/^timestamp could not be verified/, "its timestamp is of no trusted authority"],
  [/^inclusion promise/, "its entry of the transparency log is not signed by a trusted log"],
  [/^invalid checkpoint/, "its entry of the transparency log is not signed by a trusted log"],
  [/^signature verification failed/, "its signature is not of its content"],
];

function explained(message: string): string {
  return explanations.find(([pattern]) => pattern.test(message))?.[1] ?? message.slice(0, 200);
}

/** What is trusted for this signature. */
function materialFor(
  { logEntries, intermediates }: Candidate,
  { material }: ParsedTrust,
): Omit<TrustMaterial, "publicKey"> {
  // The library expects the name of a checkpoint in the address of the log. Of a log that is given by its key alone,
  // the name is unknown, and the key decides.
  const names = logEntries.map(({ inclusionProof }) => inclusionProof?.checkpoint?.envelope ?? "");
  return {
    ...material,
    tlogs: material.tlogs.map((log) =>
      log.baseURL === "" ? { ...log, baseURL: names.join("\n") } : log,
    ),
    certificateAuthorities: material.certificateAuthorities.map((authority) => ({
      ...authority,
      certChain: withIntermediates(authority.certChain, intermediates),
    })),
  };
}

/**
 * Adds the intermediates that an authority of the chain has issued, and that may issue signers' certificates; the
 * library trusts each of a chain.
 */
function withIntermediates(
  trusted: readonly X509Certificate[],
  intermediates: readonly X509Certificate[],
): X509Certificate[] {
  const chain = [...trusted];
  // From the root downwards, in whatever order they are given.
  for (const _round of intermediates) {
    for (const cert of intermediates) {
      if (chain.some((known) => known.equals(cert)) || !cert.isCA) continue;
      if (limitOf(cert) !== undefined) continue;
      const issuers = chain.filter((known) => known.isCA && known.subject.equals(cert.issuer));
      if (issuers.some((issuer) => cert.verify(issuer))) chain.push(cert);
    }
  }
  return chain;
}

/**
 * A certificate whose proofs of certificate transparency logs the library does not see: without a key of such a
 * log, it would reject each certificate that has one.
 */
function withoutProofs(leaf: X509Certificate): X509Certificate {
  const clone = leaf.clone();
  const original = clone.clone.bind(clone);
  clone.clone = () => {
    const copy = original();
    const at = copy.extensions.findIndex(({ subs }) => subs[0]?.toOID() === EXTENSION_OID_SCT);
    if (at >= 0) copy.extensions.splice(at, 1);
    return copy;
  };
  return clone;
}
