import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { checkSignatures } from "./check.ts";
import type { SignatureResult, SignatureToCheck, Trust } from "./protocol.ts";
import {
  certificatePem,
  ecKeys,
  extension,
  type KeyPair,
  pemOf,
  permittedDomain,
} from "./testing/der.ts";
import {
  noTrust,
  type AuthorityLimits,
  messageBundle,
  signBytes,
  simplePayload,
  simpleSignature,
  statementBundle,
  TestFulcio,
  TestRekor,
} from "./testing/signing.ts";

const digest = `sha256:${"a".repeat(64)}`;
const other = `sha256:${"b".repeat(64)}`;
const name = "registry.test/team/app";
const fulcio = new TestFulcio();
const rekor = new TestRekor();

const keyTrust = (...keys: readonly KeyPair[]): Trust => ({
  ...noTrust,
  keys: keys.map((each, at) => ({ name: `/keys/${at + 1}.pub`, text: pemOf(each) })),
});

const identity = {
  issuer: "https://issuer.test",
  subject: "https://git.test/team/app/release@main",
  subjectRegexp: "",
};

const keyless: Trust = {
  ...noTrust,
  identities: [identity],
  fulcioRoots: [{ name: "/fulcio.pem", text: fulcio.chainPem }],
  rekorKeys: [{ name: "/rekor.pub", text: rekor.pem }],
};

function check(trust: Trust, ...signatures: readonly SignatureToCheck[]): SignatureResult {
  const answer = checkSignatures({ digests: [digest], trust, signatures });
  assert.ok("results" in answer, JSON.stringify(answer));
  const [first] = answer.results;
  assert.ok(first !== undefined);
  return first;
}

function rejects(trust: Trust, signature: SignatureToCheck, reason: RegExp): void {
  const { valid, reason: said } = check(trust, signature);
  assert.equal(valid, false);
  assert.match(said, reason);
}

const keyTypes: readonly (readonly [string, KeyPair])[] = [
  ["ECDSA", ecKeys()],
  ["RSA", generateKeyPairSync("rsa", { modulusLength: 2048 })],
  ["Ed25519", generateKeyPairSync("ed25519")],
];

for (const [type, keys] of keyTypes) {
  test(`a signature by a trusted ${type} key is valid in both formats`, () => {
    const trust = keyTrust(ecKeys(), keys);
    const simple = simpleSignature(simplePayload(digest, name), keys.privateKey);
    const bundle = {
      kind: "bundle",
      json: statementBundle(digest, { key: keys.privateKey }),
      artifact: "",
    } as const;
    assert.deepEqual(check(trust, simple), {
      valid: true,
      signer: 'key "/keys/2.pub"',
      reason: "",
      signedName: name,
    });
    assert.deepEqual(check(trust, bundle), {
      valid: true,
      signer: 'key "/keys/2.pub"',
      reason: "",
      signedName: "",
    });
    rejects(keyTrust(ecKeys()), simple, /by none of the keys "\/keys\/1\.pub"/);
    rejects(keyTrust(ecKeys()), bundle, /by none of the keys/);
  });
}

test("a signature of another digest, a changed payload and garbage are not valid", () => {
  const keys = ecKeys();
  const trust = keyTrust(keys);
  const good = simpleSignature(simplePayload(digest, name), keys.privateKey);
  rejects(
    trust,
    simpleSignature(simplePayload(other, name), keys.privateKey),
    /it is of "sha256:b+", another image/,
  );
  const changed = simplePayload(digest, "registry.test/other").toString("base64");
  rejects(trust, { ...good, payload: changed }, /none of the keys/);
  rejects(trust, { ...good, payload: Buffer.from("{}").toString("base64") }, /not of the type/);
  rejects(trust, { ...good, payload: "AAAA" }, /not JSON/);
  rejects(trust, { ...good, signature: "" }, /none of the keys/);
  rejects(trust, { ...good, certificate: "x" }, /cannot be read/);
  rejects(trust, { ...good, rekorBundle: "{}" }, /cannot be read/);
  rejects(trust, { ...good, timestamp: "[" }, /cannot be read/);
  for (const json of ["", "{}", "[]", "null", '{"mediaType":1}', "\0".repeat(100)]) {
    rejects(trust, { kind: "bundle", json, artifact: "" }, /cannot be read/);
  }
});

test("a document of another type, signed by a trusted key, is not a signature", () => {
  const keys = ecKeys();
  const trust = keyTrust(keys);
  const payload = simplePayload(digest, name).toString("utf8").replace("cosign", "atomic");
  rejects(trust, simpleSignature(Buffer.from(payload), keys.privateKey), /not of the type/);
  const options = { key: keys.privateKey, predicateType: "https://slsa.dev/provenance/v1" };
  const bundle = { kind: "bundle", json: statementBundle(digest, options), artifact: "" } as const;
  rejects(trust, bundle, /statement of type "https:\/\/slsa\.dev\/provenance\/v1"/);
  const types = [...trust.predicateTypes, options.predicateType];
  assert.equal(check({ ...trust, predicateTypes: types }, bundle).valid, true);
});

test("a statement about another image is not valid; its name is reported", () => {
  const keys = ecKeys();
  const json = (of: string): string => statementBundle(of, { key: keys.privateKey, name });
  rejects(keyTrust(keys), { kind: "bundle", json: json(other), artifact: "" }, /another image/);
  const good = { kind: "bundle", json: json(digest), artifact: "" } as const;
  assert.equal(check(keyTrust(keys), good).signedName, name);
});

test("a signature of the manifest's own bytes is valid for these bytes only", () => {
  const keys = ecKeys();
  const manifest = Buffer.from('{"schemaVersion":2}');
  const of = `sha256:${createHash("sha256").update(manifest).digest("hex")}`;
  const json = messageBundle(manifest, { key: keys.privateKey });
  const ask = (artifact: Buffer): SignatureResult | undefined => {
    const signature = { kind: "bundle", json, artifact: artifact.toString("base64") } as const;
    const request = { digests: [of], trust: keyTrust(keys), signatures: [signature] };
    const answer = checkSignatures(request);
    return "results" in answer ? answer.results[0] : undefined;
  };
  assert.equal(ask(manifest)?.valid, true);
  assert.match(ask(Buffer.from("{}"))?.reason ?? "", /other bytes/);
});

test("with a log's key, a signature by a key must be in that log", () => {
  const keys = ecKeys();
  const payload = simplePayload(digest, name);
  const trust = { ...keyTrust(keys), rekorKeys: [{ name: "/rekor.pub", text: rekor.pem }] };
  const plain = simpleSignature(payload, keys.privateKey);
  const logged = { ...plain, rekorBundle: rekor.annotation(payload, plain.signatureBytes) };
  const elsewhere = new TestRekor().annotation(payload, plain.signatureBytes);
  assert.equal(check(trust, logged).valid, true);
  rejects(trust, plain, /in no trusted transparency log/);
  rejects(trust, { ...plain, rekorBundle: elsewhere }, /not signed by a trusted log/);
  // An entry of another signature, by the same log.
  const wrong = rekor.annotation(payload, signBytes(payload, ecKeys().privateKey));
  rejects(trust, { ...plain, rekorBundle: wrong }, /mismatch/);
  assert.equal(check({ ...trust, transparencyLog: "ignore" }, plain).valid, true);
});

test("a bundle is valid with an inclusion proof and its checkpoint", () => {
  const keys = ecKeys();
  const trust = { ...keyTrust(keys), rekorKeys: [{ name: "/rekor.pub", text: rekor.pem }] };
  const make = (log: TestRekor): SignatureToCheck => ({
    kind: "bundle",
    json: statementBundle(digest, { key: keys.privateKey, rekor: log, log: { promise: false } }),
    artifact: "",
  });
  assert.deepEqual(check(trust, make(rekor)), {
    valid: true,
    signer: 'key "/keys/1.pub"',
    reason: "",
    signedName: "",
  });
  rejects(trust, make(new TestRekor()), /not signed by a trusted log/);
});

/** A keyless signature in cosign's format. */
function keylessSignature(
  options: Parameters<TestFulcio["leaf"]>[0] & {
    readonly at?: Date;
    readonly by?: TestFulcio;
  } = {},
): SignatureToCheck {
  const by = options.by ?? fulcio;
  const { keys, der } = by.leaf(options);
  const payload = simplePayload(digest, name);
  const plain = simpleSignature(payload, keys.privateKey);
  const log = options.at === undefined ? {} : { at: options.at };
  return {
    ...plain,
    certificate: certificatePem(der),
    chain: by.chainPem,
    rekorBundle: rekor.annotation(payload, plain.signatureBytes, log),
  };
}

test("a keyless signature is valid by issuer and subject, with the root alone and with the chain", () => {
  const good = keylessSignature();
  const result = check(keyless, good);
  assert.equal(result.reason, "");
  assert.equal(
    result.signer,
    'identity "https://git.test/team/app/release@main" of "https://issuer.test"',
  );
  const rootOnly = [{ name: "/root.pem", text: fulcio.rootPem }];
  assert.equal(check({ ...keyless, fulcioRoots: rootOnly }, good).reason, "");
  const mail = { ...identity, subject: "ann@team.test" };
  const byMail = keylessSignature({ email: "ann@team.test" });
  assert.equal(check({ ...keyless, identities: [mail] }, byMail).reason, "");
});

test("a certificate with several names, or with a name of another kind, is nobody's", () => {
  const subject = "https://git.test/team/app/release@main";
  const mail = { ...identity, subject: "ann@team.test" };
  const trust = { ...keyless, identities: [identity, mail] };
  const both = keylessSignature({ subject, email: "ann@team.test" });
  rejects(trust, both, /has 2 subject alternative names instead of one/);
  const again = [extension("2.5.29.17", Buffer.from([0x30, 3, 0x81, 1, 0x61]))];
  rejects(trust, keylessSignature({ extensions: again }), /has 2 subject alternative names/);
  const host = Buffer.from([0x30, 3, 0x82, 1, 0x61]);
  const withHost = keylessSignature({ names: host });
  rejects(trust, withHost, /neither for a URI nor for an e-mail address/);
  const notAscii = keylessSignature({ names: Buffer.from([0x30, 3, 0x81, 1, 0xe1]) });
  rejects({ ...keyless, identities: [{ ...identity, subject: "a" }] }, notAscii, /not ASCII/);
});

test("an identity that must be an e-mail address is not met by a URI with the same text", () => {
  const mail = { ...identity, subject: "ann@team.test", isEmail: true } as const;
  const trust = { ...keyless, identities: [mail] };
  assert.equal(check(trust, keylessSignature({ email: "ann@team.test" })).reason, "");
  rejects(trust, keylessSignature({ subject: "ann@team.test" }), /not one of the identities/);
});

test("a pattern must match the whole subject", () => {
  const withRegexp = (subjectRegexp: string): Trust => ({
    ...keyless,
    identities: [{ ...identity, subject: "", subjectRegexp }],
  });
  const good = keylessSignature();
  assert.equal(check(withRegexp("https://git\\.test/team/.*"), good).valid, true);
  rejects(withRegexp("https://git\\.test/team/"), good, /not one of the identities/);
  rejects(withRegexp("a|https://git"), good, /not one of the identities/);
});

test("a pattern that takes long for a subject, and a subject that is long, do not hold the verifier", () => {
  const slow = { ...identity, subject: "", subjectRegexp: "(a+)+b" };
  const subject = "a".repeat(200);
  const hostile = keylessSignature({ subject });
  rejects({ ...keyless, identities: [slow] }, hostile, /"\(a\+\)\+b" takes more than 250 ms/);
  // An identity before it that matches is enough.
  const named = { ...identity, subject };
  assert.equal(check({ ...keyless, identities: [named, slow] }, hostile).valid, true);
  const long = keylessSignature({ subject: `https://git.test/${"x".repeat(2048)}` });
  const any = { ...identity, subject: "", subjectRegexp: ".*" };
  rejects({ ...keyless, identities: [any] }, long, /more than 2048 bytes/);
});

test("another identity, another issuer and another authority are not trusted", () => {
  rejects(
    keyless,
    keylessSignature({ subject: "https://git.test/mallory/app/release@main" }),
    /by "https:\/\/git\.test\/mallory.*not one of the identities/,
  );
  rejects(keyless, keylessSignature({ issuer: "https://evil.test" }), /not one of the identities/);
  rejects(keyless, keylessSignature({ by: new TestFulcio() }), /no trusted authority/);
  rejects(keyless, keylessSignature({ purpose: "1.3.6.1.5.5.7.3.1" }), /not for signatures/);
});

const nothing = Buffer.from([5, 0]);
const serverAuth = "1.3.6.1.5.5.7.3.1";
const limits: readonly (readonly [string, AuthorityLimits, RegExp])[] = [
  ["to servers", { purpose: serverAuth }, /root certificate is not for signatures of code/],
  [
    "to a domain",
    { extensions: [extension("2.5.29.30", permittedDomain("lab.test"), true)] },
    /constraints of names/,
  ],
  [
    "by what is unknown",
    { extensions: [extension("1.2.3.4", nothing, true)] },
    /unknown critical extension 1\.2\.3\.4/,
  ],
];

for (const [how, limit, reason] of limits) {
  test(`an authority that is limited ${how} issues no signer's certificate`, () => {
    const by = new TestFulcio({ intermediate: limit });
    const signature = keylessSignature({ by });
    for (const text of [by.rootPem, by.chainPem]) {
      const trust = { ...keyless, fulcioRoots: [{ name: "/f", text }] };
      rejects(trust, signature, /no trusted authority/);
    }
    const root = new TestFulcio({ root: limit });
    const trust = { ...keyless, fulcioRoots: [{ name: "/f", text: root.chainPem }] };
    const answer = checkSignatures({ digests: [digest], trust, signatures: [] });
    assert.match("error" in answer ? answer.error : "", reason);
  });
}

test("an authority for code signing or any purpose may issue, also with an unknown extension that is not critical", () => {
  const purposes = ["1.3.6.1.5.5.7.3.3", "2.5.29.37.0"];
  const extensions = [extension("1.2.3.4", nothing)];
  for (const purpose of purposes) {
    const by = new TestFulcio({ intermediate: { purpose, extensions }, root: { purpose } });
    const trust = { ...keyless, fulcioRoots: [{ name: "/f", text: by.rootPem }] };
    assert.equal(check(trust, keylessSignature({ by, extensions })).reason, "");
  }
});

test("a signer's certificate with an unknown critical extension is refused", () => {
  const extensions = [extension("1.2.3.4", nothing, true)];
  rejects(keyless, keylessSignature({ extensions }), /unknown critical extension 1\.2\.3\.4/);
});

test("an expired certificate counts only with a trusted time at which it was valid", () => {
  const from = new Date(Date.now() - 7_200_000);
  const whileValid = new Date(from.getTime() + 60_000);
  assert.equal(check(keyless, keylessSignature({ from, at: whileValid })).reason, "");
  rejects(keyless, keylessSignature({ from }), /was not valid when it was signed/);
  const untimed = { ...keylessSignature({ from }), rekorBundle: "" } as SignatureToCheck;
  rejects(keyless, untimed, /no trusted time/);
  // A time of a log that nobody trusts.
  const strangers = { ...keyless, rekorKeys: [{ name: "r", text: new TestRekor().pem }] };
  rejects(strangers, keylessSignature({ from, at: whileValid }), /not signed by a trusted log/);
});

test("with a key of a certificate transparency log, a certificate needs its proof", () => {
  const trust = {
    ...keyless,
    ctKeys: [{ name: "/ct.pub", text: pemOf(fulcio.ctKeys) }],
  };
  assert.equal(check(trust, keylessSignature({ withProof: true })).reason, "");
  // Without that key, the proof is ignored.
  assert.equal(check(keyless, keylessSignature({ withProof: true })).reason, "");
  rejects(trust, keylessSignature(), /no proof of a certificate transparency log/);
  const wrong = { ...trust, ctKeys: [{ name: "/ct.pub", text: pemOf(ecKeys()) }] };
  rejects(
    wrong,
    keylessSignature({ withProof: true }),
    /in no trusted certificate transparency log/,
  );
});

test("a keyless bundle is valid", () => {
  const { keys, der } = fulcio.leaf();
  const json = statementBundle(digest, { key: keys.privateKey, certificate: der, rekor });
  const result = check(keyless, { kind: "bundle", json, artifact: "" });
  assert.equal(result.reason, "");
  assert.match(result.signer, /^identity /);
  // The certificate is of another key.
  const stolen = statementBundle(digest, { key: ecKeys().privateKey, certificate: der, rekor });
  rejects(keyless, { kind: "bundle", json: stolen, artifact: "" }, /not of its content/);
});

test("names that others chose are shortened and printable in messages", () => {
  const subject = `https://git.test/\u001b[2J${"x".repeat(5000)}`;
  const { reason } = check(keyless, keylessSignature({ subject }));
  assert.ok(reason.length < 500, String(reason.length));
  assert.match(reason, /^[\x20-\x7e]+$/);
});

test("a certificate with an extension without a name is invalid, and no other signature is", () => {
  const { keys: own, der } = fulcio.leaf();
  const text = der.toString("hex");
  // The tag of the name of the extension for subject alternative names: an octet string instead of an object identifier.
  const broken = Buffer.from(text.replace("0603551d11", "0403551d11"), "hex");
  assert.notDeepEqual(broken, der);
  const payload = simplePayload(digest, name);
  const strange = simpleSignature(payload, own.privateKey, { certificate: certificatePem(broken) });
  const keys = ecKeys();
  const good = simpleSignature(payload, keys.privateKey);
  const trust = { ...keyless, ...keyTrust(keys), rekorKeys: [] };
  const answer = checkSignatures({ digests: [digest], trust, signatures: [strange, good] });
  assert.ok("results" in answer, JSON.stringify(answer));
  assert.match(answer.results[0]?.reason ?? "", /^it cannot be read: /);
  assert.equal(answer.results[1]?.valid, true);
});
