import type { X509Certificate } from "@sigstore/core";

const subjectAlternativeNameId = "2.5.29.17";
// What patterns are tried on. An address of a workflow has about 100 bytes.
const maxNameBytes = 2048;

/** The name that a certificate is for. */
export interface SubjectName {
  readonly kind: "uri" | "email";
  readonly name: string;
}

/**
 * The one subject alternative name of a certificate, as Fulcio issues them. Throws for a certificate with several,
 * of which it is unclear who has signed, or with one of another kind.
 */
export function subjectNameOf(certificate: X509Certificate): SubjectName {
  const names = certificate.extensions
    .filter(({ subs }) => subs[0]?.toOID() === subjectAlternativeNameId)
    .flatMap(({ subs }) => subs.at(-1)?.subs[0]?.subs ?? []);
  const [only] = names;
  if (only === undefined || names.length > 1) {
    throw new Error(`its certificate has ${names.length} subject alternative names instead of one`);
  }
  const isUri = only.tag.isContextSpecific(6);
  if (!isUri && !only.tag.isContextSpecific(1)) {
    throw new Error("its certificate is neither for a URI nor for an e-mail address");
  }
  const { value } = only;
  if (value.length > maxNameBytes) {
    throw new Error(`the name in its certificate has more than ${maxNameBytes} bytes`);
  }
  // An IA5String (RFC 5280, 4.2.1.6).
  if (value.some((byte) => byte > 0x7f))
    throw new Error("the name in its certificate is not ASCII");
  return { kind: isUri ? "uri" : "email", name: value.toString("latin1") };
}
