import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { RuntimeError } from "../../../base/errors.ts";
import {
  type FoundSignature,
  type ImageToVerify,
  parseReference,
} from "../../../core/image/index.ts";
import { checkSignatures } from "../../../verify/check.ts";
import { ecKeys, type KeyPair, pemOf } from "../../../verify/testing/der.ts";
import { simplePayload, simpleSignature } from "../../../verify/testing/signing.ts";
import { matches, type SigstorePolicy } from "./policies.ts";
import type { SignatureChecker } from "./signature-checker.ts";
import { SigstoreVerifier, type SigstoreSettings } from "./sigstore-verifier.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-sigstore-"));
after(() => rmSync(directory, { recursive: true }));
const signal = new AbortController().signal;
const target = `sha256:${"a".repeat(64)}` as const;
const manifest = `sha256:${"c".repeat(64)}` as const;

/** The verifier's own code, without its process. */
const checker: SignatureChecker = {
  async check({ digests, trust, signatures }) {
    const toCheck = signatures.map((each) => {
      assert.ok(each.kind === "simple-signing");
      return { ...each, payload: Buffer.from(each.payload).toString("base64") };
    });
    const answer = checkSignatures({ digests, trust, signatures: toCheck });
    if ("error" in answer) throw new RuntimeError("failed-precondition", answer.error);
    return answer.results;
  },
};

let files = 0;
function keyFile(keys: KeyPair): string {
  files += 1;
  const path = join(directory, `key-${files}.pub`);
  writeFileSync(path, pemOf(keys));
  return path;
}

const nothing: SigstorePolicy = {
  images: ["**"],
  namespaces: [],
  action: "verify",
  keys: [],
  identities: [],
  trustedRoot: "",
  fulcioRoots: [],
  rekorKeys: [],
  ctKeys: [],
  transparencyLog: "auto",
  signedRepository: "match",
  predicateTypes: ["https://sigstore.dev/cosign/sign/v1"],
};

const open = (
  policies: readonly Partial<SigstorePolicy>[],
  otherImages: SigstoreSettings["otherImages"] = "accept",
): Promise<SigstoreVerifier> =>
  SigstoreVerifier.open(
    { policies: policies.map((each) => ({ ...nothing, ...each })), otherImages },
    checker,
  );

function imageNamed(name: string, namespace = ""): ImageToVerify {
  const descriptor = (digest: typeof target) => ({ mediaType: "m", digest, sizeBytes: 1n });
  return {
    reference: parseReference(name),
    namespace,
    target: descriptor(target),
    manifest: descriptor(manifest),
  };
}

function signatureBy(keys: KeyPair, name: string, of: string = target): FoundSignature {
  const payload = simplePayload(of, name);
  const { signature } = simpleSignature(payload, keys.privateKey);
  const none = { certificate: "", chain: "", rekorBundle: "", timestamp: "" };
  return { kind: "simple-signing", of: target, digest: target, payload, signature, ...none };
}

const from = (...found: readonly FoundSignature[]) => ({ signatures: async () => found });

test("a signature of the index or of the manifest by a key of the policy is accepted", async () => {
  const keys = ecKeys();
  const key = keyFile(keys);
  const verifier = await open([{ keys: [key] }]);
  const image = imageNamed("registry.test/team/app:v1");
  for (const signed of [target, manifest]) {
    const source = from(signatureBy(keys, "registry.test/team/app", signed));
    const verdict = await verifier.verify(image, source, signal);
    assert.equal(verdict.decision, "accepted", verdict.reason);
    assert.equal(verdict.reason, `signature ${target} by key "${key}"`);
    assert.equal(verdict.policy, 'policy 1 of images.verification.policies (images = ["**"])');
    assert.equal(verdict.signatures[0]?.valid, true);
  }
});

test("a rejection says what was wanted, what was found, and what to do", async () => {
  const key = keyFile(ecKeys());
  const verifier = await open([{ keys: [key] }]);
  const image = imageNamed("registry.test/team/app:v1");
  const none = await verifier.verify(image, from(), signal);
  assert.equal(none.decision, "rejected");
  assert.equal(
    none.reason,
    `it has no signature: it needs a signature of ${target} or ${manifest} by key "${key}"; sign the image, or change the policy; davit verify -n NAMESPACE IMAGE shows more`,
  );
  const others = Array.from({ length: 5 }, () => signatureBy(ecKeys(), "registry.test/team/app"));
  const { reason, signatures } = await verifier.verify(image, from(...others), signal);
  assert.match(reason, /signature sha256:a+: it is by none of the keys/);
  assert.match(reason, /2 more do not count either; sign the image/);
  assert.equal(signatures.length, 5);
});

test("a signature for another repository counts only if the policy ignores that", async () => {
  const keys = ecKeys();
  const key = keyFile(keys);
  const source = from(signatureBy(keys, "registry.test/team/debug"));
  const image = imageNamed("registry.test/team/app:v1");
  const strict = await (await open([{ keys: [key] }])).verify(image, source, signal);
  assert.equal(strict.decision, "rejected");
  assert.match(strict.reason, /it is for "registry.test\/team\/debug", another repository/);
  const policy = { keys: [key], signedRepository: "ignore" } as const;
  const lax = await (await open([policy])).verify(image, source, signal);
  assert.equal(lax.decision, "accepted");
  // cosign's name of Docker's registry.
  const hub = from(signatureBy(keys, "index.docker.io/library/app"));
  const verdict = await (await open([{ keys: [key] }])).verify(imageNamed("app"), hub, signal);
  assert.equal(verdict.decision, "accepted");
});

test("the first policy that is for the image and the namespace decides", async () => {
  const verifier = await open(
    [
      { images: ["registry.test/free/*"], action: "accept" },
      { images: ["registry.test/**"], namespaces: ["kube-*"], action: "accept" },
      { images: ["registry.test/**"], action: "reject" },
    ],
    "reject",
  );
  const decide = async (name: string, namespace = ""): Promise<string> => {
    const byName = verifier.decideByName(imageNamed(name, namespace));
    const verdict = await verifier.verify(imageNamed(name, namespace), from(), signal);
    assert.deepEqual(byName, verdict);
    return verdict.decision;
  };
  assert.equal(await decide("registry.test/free/app"), "accepted");
  assert.equal(await decide("registry.test/free/sub/app"), "rejected");
  assert.equal(await decide("registry.test/app", "kube-system"), "accepted");
  assert.equal(await decide("registry.test/app", "default"), "rejected");
  assert.equal(await decide("other.test/app"), "rejected");
  const others = await open([{ images: ["a/b"], action: "reject" }]);
  assert.equal(others.decideByName(imageNamed("app"))?.decision, "none");
});

test("every name is accepted only if no policy and no default is against it", async () => {
  const free = { action: "accept" } as const;
  assert.equal((await open([free])).acceptsEveryName(), true);
  assert.equal((await open([free], "reject")).acceptsEveryName(), false);
  const one = { images: ["registry.test/a"], action: "reject" } as const;
  assert.equal((await open([free, one])).acceptsEveryName(), false);
});

test("patterns", () => {
  for (const [pattern, text, isMatch] of [
    ["r.test/*", "r.test/app", true],
    ["r.test/*", "r.test/a/b", false],
    ["r.test/**", "r.test/a/b", true],
    ["rxtest/app", "r.test/app", false],
    ["r.test/app", "rxtest/app", false],
    ["*.test/app", "a.test/app", true],
    ["r.test/a+(b)/x", "r.test/a+(b)/x", true],
    ["r.test/app", "r.test/app2", false],
  ] as const) {
    assert.equal(matches(pattern, text), isMatch, `${pattern} ${text}`);
  }
});

test("another spelling of the same registry does not escape a policy", async () => {
  const verifier = await open([
    { images: ["registry.test/**"], action: "reject" },
    { images: ["*.wild.test:443/**"], action: "reject" },
    { images: ["docker.io/library/nginx"], action: "reject" },
    { images: ["Upper.test:443/**", "[0:0:0:0:0:0:0:1]:5000/**"], action: "reject" },
    { images: ["127.0.0.1:5000/**"], action: "reject" },
  ]);
  const decide = async (name: string) => {
    return (await verifier.verify(imageNamed(name), from(), signal)).decision;
  };
  for (const name of [
    "registry.test/a",
    "Registry.TEST/a",
    "registry.test:443/a",
    "registry.test:0443/a",
    "A.wild.test/a",
    "a.wild.test:443/a",
    "nginx",
    "registry-1.docker.io/library/nginx",
    "INDEX.docker.io/nginx",
    "docker.io:443/library/nginx",
    "upper.test/a",
    "[::1]:5000/a",
    "127.1:5000/a",
  ]) {
    assert.equal(await decide(name), "rejected", name);
  }
  for (const name of ["registry.test:5000/a", "registry.test:80/a", "wild.test/a", "httpd"]) {
    assert.notEqual(await decide(name), "rejected", name);
  }
});

test("a key that changes on disk counts at once, and is another generation", async () => {
  const [before, now] = [ecKeys(), ecKeys()];
  const key = keyFile(before);
  const verifier = await open([{ keys: [key] }]);
  const generation = await verifier.generation();
  assert.equal(await verifier.generation(), generation);
  writeFileSync(key, `${pemOf(now)}\n`);
  assert.notEqual(await verifier.generation(), generation);
  const source = from(signatureBy(now, "registry.test/app"));
  const verdict = await verifier.verify(imageNamed("registry.test/app"), source, signal);
  assert.equal(verdict.decision, "accepted", verdict.reason);
});

test("a key that is gone refuses the images of its policy only, until it is there again", async () => {
  const [signer, other] = [ecKeys(), ecKeys()];
  const [gone, stays] = [keyFile(signer), keyFile(other)];
  const verifier = await open([
    { images: ["registry.test/free"], action: "accept" },
    { images: ["registry.test/app"], keys: [gone, stays] },
    { images: ["registry.test/other"], keys: [stays] },
  ]);
  const before = await verifier.generation();
  const app = imageNamed("registry.test/app");
  const source = from(
    signatureBy(signer, "registry.test/app"),
    signatureBy(other, "registry.test/app"),
  );
  rmSync(gone);
  // Signatures that were accepted before are not any more.
  assert.notEqual(await verifier.generation(), before);
  await assert.rejects(
    verifier.verify(app, source, signal),
    /read ".*key-\d+\.pub" of images\.verification\.policies: ENOENT/,
  );
  await assert.rejects(verifier.verify(app, from(), signal), /ENOENT/);
  assert.equal(verifier.decideByName(imageNamed("registry.test/free"))?.decision, "accepted");
  const theirs = from(signatureBy(other, "registry.test/other"));
  const verdict = await verifier.verify(imageNamed("registry.test/other"), theirs, signal);
  assert.equal(verdict.decision, "accepted", verdict.reason);
  writeFileSync(gone, pemOf(signer));
  assert.equal(await verifier.generation(), before);
  assert.equal((await verifier.verify(app, source, signal)).decision, "accepted");
});

test("open() rejects a file that is missing or has no key, with the policy and the file", async () => {
  await assert.rejects(open([{ keys: [join(directory, "none")] }]), /read ".*\/none" of images/);
  const garbage = join(directory, "garbage");
  writeFileSync(garbage, "no key");
  await assert.rejects(open([{ keys: [garbage] }]), /policy 1 of images.*read ".*garbage"/);
});
