import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { checkSignatures } from "./check.ts";
import type { Trust } from "./protocol.ts";
import { ecKeys } from "./testing/der.ts";
import { noTrust, statementBundle, TestFulcio, TestRekor } from "./testing/signing.ts";

const digest = `sha256:${"a".repeat(64)}`;
const fulcio = new TestFulcio();
const rekor = new TestRekor();

const identity = {
  issuer: "https://issuer.test",
  subject: "https://git.test/team/app/release@main",
  subjectRegexp: "",
};

/** Why a keyless bundle with a certificate of this authority is not valid; empty for a valid one. */
function reasonOf(trust: Trust, authority: TestFulcio): string {
  const { keys, der } = authority.leaf();
  const json = statementBundle(digest, { key: keys.privateKey, certificate: der, rekor });
  const signatures = [{ kind: "bundle", json, artifact: "" }] as const;
  const answer = checkSignatures({ digests: [digest], trust, signatures });
  assert.ok("results" in answer, JSON.stringify(answer));
  return answer.results[0]?.reason ?? "no result";
}

test("a trusted_root.json has authorities and logs", () => {
  const raw = (pem: string): string => pem.replace(/-----[^-]+-----|\n/g, "");
  const der = Buffer.from(raw(rekor.pem), "base64");
  const id = createHash("sha256").update(der).digest("base64");
  const certificates = (
    fulcio.chainPem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []
  ).map((pem) => ({ rawBytes: raw(pem) }));
  const validFor = { start: "2020-01-01T00:00:00Z" };
  const root = {
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [
      {
        baseUrl: "https://rekor.test",
        hashAlgorithm: "SHA2_256",
        publicKey: {
          rawBytes: raw(rekor.pem),
          keyDetails: "PKIX_ECDSA_P256_SHA_256",
          validFor,
        },
        logId: { keyId: id },
      },
    ],
    certificateAuthorities: [
      { subject: {}, uri: "https://fulcio.test", certChain: { certificates }, validFor },
    ],
    ctlogs: [],
    timestampAuthorities: [],
  };
  const trust = {
    ...noTrust,
    identities: [identity],
    trustedRoot: { name: "/trusted_root.json", text: JSON.stringify(root) },
  };
  assert.equal(reasonOf(trust, fulcio), "");
  assert.match(reasonOf(trust, new TestFulcio()), /no trusted authority/);
  const broken = { ...trust, trustedRoot: { name: "/trusted_root.json", text: "{" } };
  const answer = checkSignatures({ digests: [digest], trust: broken, signatures: [] });
  assert.match("error" in answer ? answer.error : "", /^read "\/trusted_root\.json": /);
});

test("trust that cannot be read names its file", () => {
  for (const [trust, error] of [
    [{ ...noTrust, keys: [{ name: "/k", text: "x" }] }, /^read "\/k": /],
    [{ ...noTrust, rekorKeys: [{ name: "/r", text: "" }] }, /^read "\/r": /],
    [{ ...noTrust, fulcioRoots: [{ name: "/f", text: "" }] }, /^read "\/f": it has no certificate/],
  ] as const) {
    const answer = checkSignatures({ digests: [digest], trust, signatures: [] });
    assert.match("error" in answer ? answer.error : "", error);
  }
  const { privateKey } = ecKeys();
  const text = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const answer = checkSignatures({
    digests: [digest],
    trust: { ...noTrust, keys: [{ name: "/k", text }] },
    signatures: [],
  });
  assert.match("error" in answer ? answer.error : "", /has a private key/);
});
