import type { X509Certificate } from "@sigstore/core";

const purposesId = "2.5.29.37";
const nameConstraintsId = "2.5.29.30";
const codeSigning = "1.3.6.1.5.5.7.3.3";
const anyPurpose = "2.5.29.37.0";

// Subject alternative name, basic constraints, key usage and purposes, which are checked, the key identifiers,
// and the certificate policies, which forbid nothing (RFC 5280, 4.2.1).
const known: ReadonlySet<string> = new Set([
  "2.5.29.14",
  "2.5.29.15",
  "2.5.29.17",
  "2.5.29.19",
  "2.5.29.32",
  "2.5.29.35",
  purposesId,
]);

/**
 * Why an authority may not issue certificates for signatures; undefined for one that may. As in Go, the purposes of
 * an authority limit what it issues. Constraints of names are not checked, so an authority that has them is not trusted.
 * Throws for a certificate that cannot be read.
 */
export function limitOf(authority: X509Certificate): string | undefined {
  const extensions = extensionsOf(authority);
  const purposes = extensions.filter(({ id }) => id === purposesId);
  if (!purposes.every(({ items }) => items.includes(codeSigning) || items.includes(anyPurpose))) {
    return "is not for signatures of code";
  }
  if (extensions.some(({ id }) => id === nameConstraintsId)) {
    return "has constraints of names, which davit does not check";
  }
  const unknown = unknownCritical(authority);
  return unknown === undefined ? undefined : `has the unknown critical extension ${unknown}`;
}

/** The id of a critical extension that is not checked, for which a certificate must be refused (RFC 5280, 4.2). */
export function unknownCritical(certificate: X509Certificate): string | undefined {
  return extensionsOf(certificate).find(({ id, critical }) => critical && !known.has(id))?.id;
}

interface Extension {
  readonly id: string;
  readonly critical: boolean;
  /** The object identifiers in its value, if that is a list of them. */
  readonly items: readonly string[];
}

/** All of them: the library finds only the first of each kind. */
function extensionsOf(certificate: X509Certificate): readonly Extension[] {
  return certificate.extensions.map(({ subs }) => {
    const [id, second] = subs;
    if (id === undefined) throw new Error("its certificate has an extension without a name");
    const critical = subs.length === 3 && second?.toBoolean() === true;
    const values = id.toOID() === purposesId ? (subs.at(-1)?.subs[0]?.subs ?? []) : [];
    return { id: id.toOID(), critical, items: values.map((value) => value.toOID()) };
  });
}
