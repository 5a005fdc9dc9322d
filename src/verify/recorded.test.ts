// Signatures that cosign 2.5.0 made on 2 December 2026 with Fulcio 1.6.5, Rekor 1.3.9, a log of certificate
// transparency 1.3.1 and a timestamp authority 1.2.3 of their own. cosign-2.5.0.json has them, and what they are trusted by.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { checkSignatures } from "./check.ts";
import type { SignatureResult, SignatureToCheck, Trust, TrustedIdentity } from "./protocol.ts";
import { ecKeys, pemOf } from "./testing/der.ts";
import { noTrust, TestFulcio } from "./testing/signing.ts";

type Simple = Extract<SignatureToCheck, { readonly kind: "simple-signing" }>;

const recorded = JSON.parse(
  readFileSync(new URL("testing/cosign-2.5.0.json", import.meta.url), "utf8"),
) as {
  readonly digest: string;
  readonly signatures: Readonly<Record<string, SignatureToCheck>>;
  readonly trustedRoot: string;
  readonly fulcioChain: string;
  readonly rekorKey: string;
  readonly ctKey: string;
  readonly cosignKey: string;
};

const file = (text: string): { readonly name: string; readonly text: string } => ({
  name: "/file",
  text,
});
const developer: TrustedIdentity = {
  issuer: "http://127.0.0.1:15556/email",
  subject: "dev@example.test",
  subjectRegexp: "",
};
const workflow: TrustedIdentity = {
  issuer: "http://127.0.0.1:15556/ci",
  subject: "",
  subjectRegexp: "https://github\\.com/team/app/.*",
};
const signers = { identities: [developer, workflow], keys: [file(recorded.cosignKey)] };
const byRoot: Trust = { ...noTrust, ...signers, trustedRoot: file(recorded.trustedRoot) };
const byFiles: Trust = {
  ...noTrust,
  ...signers,
  fulcioRoots: [file(recorded.fulcioChain)],
  rekorKeys: [file(recorded.rekorKey)],
  ctKeys: [file(recorded.ctKey)],
};
const byTimestamps: Trust = { ...byRoot, transparencyLog: "ignore" };

function check(
  trust: Trust,
  signature: SignatureToCheck,
  digest = recorded.digest,
): SignatureResult {
  const answer = checkSignatures({ digests: [digest], trust, signatures: [signature] });
  assert.ok("results" in answer, JSON.stringify(answer));
  const [result] = answer.results;
  assert.ok(result !== undefined);
  return result;
}

function named(name: string): SignatureToCheck {
  const signature = recorded.signatures[name];
  assert.ok(signature !== undefined, name);
  return signature;
}

function simple(name: string): Simple {
  const signature = named(name);
  assert.ok(signature.kind === "simple-signing");
  return signature;
}

function rejects(trust: Trust, signature: SignatureToCheck, reason: RegExp): void {
  const { valid, reason: said } = check(trust, signature);
  assert.equal(valid, false);
  assert.match(said, reason);
}

/** The signature with its bundle changed. */
function changed(name: string, change: (bundle: RecordedBundle) => void): SignatureToCheck {
  const signature = named(name);
  assert.ok(signature.kind === "bundle");
  const bundle = JSON.parse(signature.json) as RecordedBundle;
  change(bundle);
  return { ...signature, json: JSON.stringify(bundle) };
}

interface RecordedBundle {
  readonly dsseEnvelope: { payload: string };
  readonly verificationMaterial: {
    tlogEntries: {
      canonicalizedBody: string;
      integratedTime: string;
      inclusionProof: { hashes: string[]; checkpoint: { envelope: string } };
      inclusionPromise?: { signedEntryTimestamp: string };
    }[];
    timestampVerificationData: { rfc3161Timestamps: { signedTimestamp: string }[] };
  };
}

/** cosign's annotation with the entry of the log. */
interface RecordedEntry {
  SignedEntryTimestamp: string;
  readonly Payload: { body: string; integratedTime: number; logIndex: number; logID: string };
}

function entryChanged(name: string, change: (entry: RecordedEntry) => void): Simple {
  const signature = simple(name);
  const entry = JSON.parse(signature.rekorBundle) as RecordedEntry;
  change(entry);
  return { ...signature, rekorBundle: JSON.stringify(entry) };
}

const names = Object.keys(recorded.signatures);
const inLog = names.filter((name) => name.includes("log"));
const stamped = names.filter((name) => name.includes("timestamp"));

/** Bytes in base64 with another one at the end, which is part of a signature in a signature or timestamp. */
function otherByte(base64: string): string {
  const bytes = Buffer.from(base64, "base64");
  const at = bytes.length - 1;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return bytes.toString("base64");
}

// Certificates of Fulcio are valid for 10 minutes, those of the authorities until 2035 and 2036: what counts is the
// time of the log or of the timestamp.
for (const year of [2027, 2060]) {
  describe(`recorded signatures of cosign, in ${year}`, () => {
    beforeEach(() => mock.timers.enable({ apis: ["Date"], now: new Date(`${year}-06-01`) }));
    afterEach(() => mock.timers.reset());

    for (const name of inLog) {
      test(`are valid by a log: ${name}`, () => {
        for (const trust of [byRoot, byFiles]) {
          const { valid, reason, signer } = check(trust, named(name));
          assert.equal(reason, "");
          assert.equal(valid, true);
          const wanted = /key/.test(name) ? /^key/ : /^identity "(dev@example\.test|https:\/\/git)/;
          assert.match(signer, wanted);
        }
      });
    }

    for (const name of stamped) {
      test(`are valid by a timestamp: ${name}`, () => {
        const { valid, reason } = check(byTimestamps, named(name));
        assert.equal(reason, "");
        assert.equal(valid, true);
      });
    }

    test("count for nothing without a trusted time", () => {
      const noTime =
        /^it has no trusted time of a log or timestamp authority, which its certificate needs$/;
      rejects(byTimestamps, named("workflow, log"), noTime);
      rejects(byTimestamps, named("bundle, e-mail, log"), noTime);
      rejects({ ...byFiles, transparencyLog: "ignore" }, named("e-mail, timestamp"), noTime);
    });
  });
}

test("a recorded signature is of one image, by its signer alone", () => {
  for (const name of names) {
    const other = `sha256:${"b".repeat(64)}`;
    const trust = name.includes("log") ? byRoot : byTimestamps;
    assert.equal(check(trust, named(name)).valid, true);
    assert.match(check(trust, named(name), other).reason, /another image$/);
  }
  const wrong: readonly TrustedIdentity[] = [
    { ...developer, subject: "dev@example.tes" },
    { ...developer, issuer: workflow.issuer },
    { ...workflow, issuer: developer.issuer },
    { ...workflow, subjectRegexp: "https://github\\.com/team/app/" },
  ];
  const trust = { ...byRoot, identities: wrong, keys: [file(pemOf(ecKeys()))] };
  for (const name of names.filter((each) => each.includes("log"))) {
    rejects(trust, named(name), /which is not one of the identities$|by none of the keys/);
  }
});

test("a recorded signature needs the authorities and logs that it is from", () => {
  const workflowSignature = named("workflow, log");
  const otherKey = file(pemOf(ecKeys()));
  const strange = [file(new TestFulcio().chainPem)];
  rejects({ ...byFiles, fulcioRoots: strange }, workflowSignature, /of no trusted authority/);
  rejects({ ...byFiles, rekorKeys: [otherKey] }, workflowSignature, /log/);
  rejects({ ...byFiles, rekorKeys: [otherKey] }, named("bundle, e-mail, log"), /log/);
  rejects({ ...byFiles, ctKeys: [otherKey] }, workflowSignature, /certificate transparency/);
});

test("an entry of Rekor that was changed is rejected", () => {
  for (const name of ["workflow, log", "e-mail, log", "key, log"]) {
    const changes: readonly ((entry: RecordedEntry) => void)[] = [
      (entry) => void (entry.Payload.integratedTime += 1),
      (entry) => void (entry.Payload.logIndex += 1),
      (entry) => void (entry.Payload.logID = "00".repeat(32)),
      (entry) => void (entry.SignedEntryTimestamp = otherByte(entry.SignedEntryTimestamp)),
      // The entry of another signature, which the log has signed.
      (entry) => {
        const from = name === "key, log" ? "e-mail, log" : "key, log";
        Object.assign(entry, JSON.parse(simple(from).rekorBundle));
      },
    ];
    for (const change of changes) {
      assert.equal(check(byRoot, entryChanged(name, change)).valid, false);
    }
  }
});

test("a bundle that was changed is rejected", () => {
  const name = "bundle, workflow, log and timestamp";
  assert.equal(
    check(
      byRoot,
      changed(name, () => undefined),
    ).valid,
    true,
  );
  const first = ({ verificationMaterial }: RecordedBundle) => {
    const [entry] = verificationMaterial.tlogEntries;
    assert.ok(entry !== undefined);
    return entry;
  };
  const changes: readonly ((bundle: RecordedBundle) => void)[] = [
    (bundle) => void (first(bundle).integratedTime = "1"),
    (bundle) => void first(bundle).inclusionProof.hashes.pop(),
    (bundle) => {
      const proof = first(bundle).inclusionProof;
      proof.checkpoint.envelope = proof.checkpoint.envelope.replace(/\n\d+\n/, "\n999\n");
    },
    (bundle) => void (first(bundle).canonicalizedBody = otherByte(first(bundle).canonicalizedBody)),
    (bundle) => void (bundle.dsseEnvelope.payload = otherByte(bundle.dsseEnvelope.payload)),
    (bundle) => {
      const [stamp] = bundle.verificationMaterial.timestampVerificationData.rfc3161Timestamps;
      assert.ok(stamp !== undefined);
      stamp.signedTimestamp = otherByte(stamp.signedTimestamp);
    },
    (bundle) => void (bundle.verificationMaterial.tlogEntries = []),
  ];
  for (const [at, change] of changes.entries()) {
    assert.equal(check(byRoot, changed(name, change)).valid, false, String(at));
  }
});

test("the timestamp of another signature is rejected", () => {
  const own = simple("e-mail, timestamp");
  const { timestamp } = simple("e-mail, log and timestamp");
  rejects(byTimestamps, { ...own, timestamp }, /^its timestamp is of no trusted authority/);
});

test("a timestamp counts for nothing where no authority for timestamps is trusted", () => {
  const signature = simple("e-mail, log and timestamp");
  const damaged = { ...signature, timestamp: simple("e-mail, timestamp").timestamp };
  assert.equal(check(byFiles, damaged).valid, true);
  rejects(byRoot, damaged, /^its timestamp is of no trusted authority/);
});
