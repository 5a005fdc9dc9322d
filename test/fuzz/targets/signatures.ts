/** Signatures of images: certificates, timestamps, entries of logs and bundles, for whoever can push to a repository. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { checkSignatures } from "../../../src/verify/check.ts";
import type { SignatureToCheck } from "../../../src/verify/protocol.ts";
import { noTrust } from "../../../src/verify/testing/signing.ts";
import type { FuzzTarget } from "../target.ts";

type Simple = Extract<SignatureToCheck, { readonly kind: "simple-signing" }>;
type Bundle = Extract<SignatureToCheck, { readonly kind: "bundle" }>;

const file = "../../../src/verify/testing/cosign-2.5.0.json";
const recorded = JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8")) as {
  readonly digest: string;
  readonly signatures: Readonly<Record<string, SignatureToCheck>>;
  readonly trustedRoot: string;
  readonly cosignKey: string;
};
const { digest } = recorded;
const trust = {
  ...noTrust,
  keys: [{ name: "cosign.pub", text: recorded.cosignKey }],
  identities: [
    { issuer: "http://127.0.0.1:15556/email", subject: "dev@example.test", subjectRegexp: "" },
  ],
  trustedRoot: { name: "trusted_root.json", text: recorded.trustedRoot },
};
const good = recorded.signatures["key, log"] as Simple;
const simple = recorded.signatures["e-mail, log and timestamp"] as Simple;
const bundle = recorded.signatures["bundle, e-mail, log"] as Bundle;
const stamp = JSON.parse(simple.timestamp) as { readonly SignedRFC3161Timestamp: string };

const pem = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`;
const derOf = (text: string): Buffer => Buffer.from(text.replace(/-----[^-]+-----/g, ""), "base64");

/** A part of a signature: what it is, and a signature with another one. */
interface Part {
  readonly bytes: Buffer;
  readonly make: (bytes: Buffer) => SignatureToCheck;
}

const parts: readonly Part[] = [
  {
    bytes: derOf(simple.certificate),
    make: (bytes) => ({ ...simple, certificate: pem(bytes) }),
  },
  {
    bytes: derOf(simple.chain.split("-----END")[0] ?? ""),
    make: (bytes) => ({ ...simple, chain: pem(bytes) }),
  },
  {
    bytes: Buffer.from(stamp.SignedRFC3161Timestamp, "base64"),
    make: (bytes) => {
      const changed = JSON.stringify({ SignedRFC3161Timestamp: bytes.toString("base64") });
      return { ...simple, timestamp: changed };
    },
  },
  {
    bytes: Buffer.from(simple.rekorBundle),
    make: (bytes) => ({ ...simple, rekorBundle: bytes.toString("utf8") }),
  },
  {
    bytes: Buffer.from(simple.payload, "base64"),
    make: (bytes) => ({ ...simple, payload: bytes.toString("base64") }),
  },
  {
    bytes: Buffer.from(bundle.json),
    make: (bytes) => ({ ...bundle, json: bytes.toString("utf8") }),
  },
];

export const target: FuzzTarget = {
  name: "signatures",
  // The first byte chooses the part that the others are.
  seeds: () => parts.map(({ bytes }, at) => Buffer.concat([Buffer.from([at]), bytes])),
  words: [
    "\x06\x03\x55\x1d\x11",
    "\x30\x82\xff\xff",
    '"tlogEntries":[',
    '"inclusionProof":{',
    "[]",
  ],
  check: (input) => {
    const part = parts[(input[0] ?? 0) % parts.length];
    assert.ok(part !== undefined);
    const signatures = [part.make(input.subarray(1)), good];
    const answer = checkSignatures({ digests: [digest], trust, signatures });
    assert.ok("results" in answer, JSON.stringify(answer));
    const [changed, other] = answer.results;
    assert.ok(other?.valid === true, "another signature does not count any more");
    assert.ok(changed !== undefined && changed.reason.length <= 1000);
    if (changed.valid) assert.match(changed.signer, /^identity "dev@example\.test"/);
  },
};
