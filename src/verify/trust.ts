import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { pem, X509Certificate } from "@sigstore/core";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { toTrustMaterial, type TrustMaterial } from "@sigstore/verify";
import { messageOf, RuntimeError } from "../base/errors.ts";
import { limitOf } from "./constraints.ts";
import type { Trust, TrustedIdentity, TrustFile } from "./protocol.ts";

/** A trusted key, and the file that it is from. */
export interface TrustedKey {
  readonly name: string;
  readonly key: KeyObject;
}

/** Everything that is trusted, parsed. */
export interface ParsedTrust {
  readonly keys: readonly TrustedKey[];
  readonly identities: readonly TrustedIdentity[];
  readonly material: Omit<TrustMaterial, "publicKey">;
  /** A signature must be in one of the logs. */
  readonly needsLog: boolean;
  /** The entries of logs count for nothing, not even as times. */
  readonly ignoresLogs: boolean;
  readonly predicateTypes: ReadonlySet<string>;
}

const always = { start: new Date(0), end: new Date(8_640_000_000_000_000) };

/** Parses keys, certificates and the trusted root. `failed-precondition` that names the file that cannot be used. */
export function parseTrust(trust: Trust): ParsedTrust {
  const root = trust.trustedRoot === undefined ? undefined : parseRoot(trust.trustedRoot);
  const authorities = trust.fulcioRoots.map((file) => named(file, () => parseAuthority(file)));
  const logs = (files: readonly TrustFile[]): TrustMaterial["tlogs"] =>
    files.map((file) => named(file, () => parseLog(file)));
  const material = {
    certificateAuthorities: [...authorities, ...(root?.certificateAuthorities ?? [])],
    timestampAuthorities: root?.timestampAuthorities ?? [],
    tlogs: [...logs(trust.rekorKeys), ...(root?.tlogs ?? [])],
    ctlogs: [...logs(trust.ctKeys), ...(root?.ctlogs ?? [])],
  };
  const { transparencyLog: wanted } = trust;
  return {
    keys: trust.keys.map((file) => ({ name: file.name, key: named(file, () => parseKey(file)) })),
    identities: trust.identities,
    material,
    needsLog: wanted === "require" || (wanted === "auto" && material.tlogs.length > 0),
    ignoresLogs: wanted === "ignore" || material.tlogs.length === 0,
    predicateTypes: new Set(trust.predicateTypes),
  };
}

function parseRoot(file: TrustFile): TrustMaterial {
  return named(file, () => {
    const material = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(file.text)));
    const certificateAuthorities = material.certificateAuthorities.map((authority) => ({
      ...authority,
      certChain: authority.certChain.filter((cert) => limitOf(cert) === undefined),
    }));
    return { ...material, certificateAuthorities };
  });
}

/** A PEM public key: RSA, ECDSA or Ed25519. */
function parseKey({ text }: TrustFile): KeyObject {
  if (text.includes("PRIVATE KEY")) throw new Error("it has a private key");
  const key = createPublicKey(text);
  const type = key.asymmetricKeyType ?? "";
  if (!["rsa", "ec", "ed25519"].includes(type)) {
    throw new Error(`its key is of type ${JSON.stringify(type)}: use RSA, ECDSA or Ed25519`);
  }
  if (type === "rsa" && (key.asymmetricKeyDetails?.modulusLength ?? 0) < 2048) {
    throw new Error("its RSA key has less than 2048 bits");
  }
  return key;
}

function parseAuthority({ text }: TrustFile): TrustMaterial["certificateAuthorities"][number] {
  const certChain = parseCertificates(text);
  if (certChain.length === 0) throw new Error("it has no certificate");
  const roots = certChain.filter((cert) => cert.subject.equals(cert.issuer) && cert.verify());
  if (roots.length === 0) {
    throw new Error("its chain does not end in a root certificate, which has signed itself");
  }
  const limits = roots.map(limitOf);
  if (!limits.includes(undefined)) throw new Error(`its root certificate ${limits.join(", ")}`);
  return { certChain: certChain.filter((cert) => limitOf(cert) === undefined), validFor: always };
}

/** The id of a log is the digest of its key (RFC 6962, 3.2). */
function parseLog(file: TrustFile): TrustMaterial["tlogs"][number] {
  const publicKey = parseKey(file);
  const der = publicKey.export({ type: "spki", format: "der" });
  const logID = createHash("sha256").update(der).digest();
  return { logID, baseURL: "", publicKey, validFor: always };
}

/** The certificates of a PEM text. */
export function parseCertificates(text: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => X509Certificate.parse(pem.toDER(block)));
}

function named<T>({ name }: TrustFile, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const text = `read "${name}": ${messageOf(cause)}`;
    throw new RuntimeError("failed-precondition", text, { cause });
  }
}
