import { X509Certificate } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { SimpleSignature } from "../../../core/image/index.ts";
import type { KeyFile } from "./evaluation.ts";
import { firstLine, runUnprivileged, someUser } from "./unprivileged.ts";

/** Who must have issued a certificate, and to whom (containers-policy.json(5), pki). */
export interface TrustedPki {
  readonly roots: KeyFile;
  readonly intermediates: KeyFile | undefined;
  readonly subjectEmail: string | undefined;
  readonly subjectHostname: string | undefined;
}

/** The public key of a good certificate, as PEM, or why the certificate does not count. */
export type PkiAnswer =
  | { readonly key: string; readonly reason?: undefined }
  | { readonly reason: string; readonly key?: undefined };

const maxCertificateBytes = 64 * 1024;
const block = "-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----\\s*";
const oneCertificate = new RegExp(`^\\s*${block}$`);
const certificates = new RegExp(`^\\s*(?:${block}){1,10}$`);

/**
 * Lets openssl verify the certificate of a signature: its path to a root of the policy, now, for signatures of code,
 * and its subjects. Programs of Node.js verify single certificates only. Rejects as {@link runUnprivileged}.
 */
export async function verifyCertificate(
  { certificate, chain }: Pick<SimpleSignature, "certificate" | "chain">,
  pki: TrustedPki,
  options: { readonly directory: string; readonly signal: AbortSignal },
): Promise<PkiAnswer> {
  if (certificate === "") return { reason: "it has no certificate" };
  if (certificate.length + chain.length > maxCertificateBytes) {
    return { reason: "its certificates are too large" };
  }
  if (!oneCertificate.test(certificate) || (chain !== "" && !certificates.test(chain))) {
    return { reason: "its certificates are not PEM" };
  }
  await mkdir(options.directory, { recursive: true, mode: 0o711 });
  const cwd = await mkdtemp(join(options.directory, "pki-"));
  try {
    // All of this is public, and openssl runs as another user.
    await chmod(cwd, 0o755);
    const untrusted = `${pki.intermediates?.bytes.toString("latin1") ?? ""}\n${chain}`;
    await writeFile(join(cwd, "roots"), pki.roots.bytes, { mode: 0o644 });
    await writeFile(join(cwd, "untrusted"), untrusted, { mode: 0o644 });
    await writeFile(join(cwd, "leaf"), certificate, { mode: 0o644 });
    const answer = await verifyFiles(cwd, pki, {
      hasUntrusted: untrusted.trim() !== "",
      ...options,
    });
    if (answer.reason !== undefined || isFor(certificate, pki)) return answer;
    return { reason: "its certificate is refused: the subject is not among its alternative names" };
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

/**
 * Whether a good certificate has the subjects among its alternative names, as Go requires it. openssl also looks
 * into the subject of one that has no alternative name of the kind.
 */
function isFor(certificate: string, { subjectEmail, subjectHostname }: TrustedPki): boolean {
  const leaf = new X509Certificate(certificate);
  const own = { subject: "never", partialWildcards: false } as const;
  const hasEmail = subjectEmail === undefined || leaf.checkEmail(subjectEmail, own) !== undefined;
  const hasHostname =
    subjectHostname === undefined || leaf.checkHost(subjectHostname, own) !== undefined;
  return hasEmail && hasHostname;
}

async function verifyFiles(
  cwd: string,
  { subjectEmail, subjectHostname }: TrustedPki,
  { hasUntrusted, signal }: { readonly hasUntrusted: boolean; readonly signal: AbortSignal },
): Promise<PkiAnswer> {
  const user = someUser();
  const openssl = (args: readonly string[]): ReturnType<typeof runUnprivileged> =>
    runUnprivileged({
      name: "openssl",
      package: "openssl",
      args,
      user,
      cwd,
      input: Buffer.alloc(0),
      signal,
    });
  const verified = await openssl([
    "verify",
    // Nothing that this machine trusts for other purposes; as in Go, a root need not be self-signed.
    "-no-CApath",
    "-no-CAstore",
    "-CAfile",
    "roots",
    "-partial_chain",
    "-purpose",
    "codesign",
    ...(hasUntrusted ? ["-untrusted", "untrusted"] : []),
    ...(subjectEmail === undefined ? [] : ["-verify_email", subjectEmail]),
    ...(subjectHostname === undefined ? [] : ["-verify_hostname", subjectHostname]),
    "leaf",
  ]);
  if (verified.code !== 0) return { reason: `its certificate is refused: ${reasonOf(verified)}` };
  const { code, stdout } = await openssl(["x509", "-in", "leaf", "-noout", "-pubkey"]);
  const key = stdout.toString("latin1");
  if (code === 0 && key.includes("PUBLIC KEY")) return { key };
  return { reason: "its certificate has no key that openssl can read" };
}

/** `error 62 at 0 depth lookup: hostname mismatch` of openssl, else its first line. */
function reasonOf({ stderr }: { readonly stderr: Buffer }): string {
  const found = /^error \d+ at \d+ depth lookup: ?(.{1,100})$/m.exec(stderr.toString("latin1"));
  return found?.[1] ?? firstLine(stderr);
}
