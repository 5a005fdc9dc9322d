import { readFileSync } from "node:fs";

// The CA bundles of Debian, Fedora, SUSE and Alpine. Node's own tls.getCACertificates("system") reads each certificate several times and takes 150 ms.
const systemBundles = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** As other runtimes do it: what the system trusts, and only without that Node's own list. In PEM. */
export function systemCertificates(): readonly string[] {
  for (const file of [process.env["SSL_CERT_FILE"] ?? "", ...systemBundles]) {
    try {
      return [readFileSync(file, "utf8")];
    } catch {
      // Of another distribution.
    }
  }
  return process.getBuiltinModule("node:tls").getCACertificates("bundled");
}
