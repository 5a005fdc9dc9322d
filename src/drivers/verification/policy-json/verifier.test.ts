import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import {
  type BundleSignature,
  type FoundSignature,
  type ImageToVerify,
  parseReference,
  type SignatureSource,
  type SimpleSignature,
  type Verdict,
} from "../../../core/image/index.ts";
import type { SignatureResult } from "../../../verify/protocol.ts";
import type { SignaturesToCheck } from "../sigstore/signature-checker.ts";
import { KeptSignatures } from "./kept-signatures.ts";
import { PolicyJsonVerifier } from "./verifier.ts";

const digest = `sha256:${"a".repeat(64)}` as const;
const ofPlatform = `sha256:${"b".repeat(64)}` as const;
const { signal } = new AbortController();

const simple: SimpleSignature = {
  kind: "simple-signing",
  of: digest,
  digest: `sha256:${"d".repeat(64)}`,
  payload: Buffer.from("{}"),
  signature: "",
  certificate: "",
  chain: "",
  rekorBundle: "",
  timestamp: "",
};
const bundle: BundleSignature = { kind: "bundle", of: digest, digest, json: "{}" };
const good: SignatureResult = {
  valid: true,
  signer: "key",
  reason: "",
  signedName: "x.test/app:1",
};
const bad: SignatureResult = { valid: false, signer: "", reason: "wrong key", signedName: "" };

let dir: string;
let asked: SignaturesToCheck[];
let results: readonly SignatureResult[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-policy-json-"));
  asked = [];
  results = [];
});
afterEach(() => rmSync(dir, { recursive: true }));

const path = (): string => join(dir, "policy.json");

function open(requirements: readonly unknown[]): PolicyJsonVerifier {
  writeFileSync(path(), JSON.stringify({ default: requirements }));
  writeFileSync(join(dir, "a.pub"), "a key");
  return new PolicyJsonVerifier({
    path: path(),
    directory: "",
    registriesDirectory: join(dir, "registries.d"),
    workDirectory: join(dir, "work"),
    kept: new KeptSignatures({ directory: join(dir, "kept"), log: silentLogger }),
    env: {},
    checker: {
      check: (request) => {
        asked.push(request);
        return Promise.resolve(results);
      },
    },
  });
}

function verify(
  verifier: PolicyJsonVerifier,
  found: readonly FoundSignature[] = [],
  name = "x.test/app:1",
): Promise<Verdict> {
  const image: ImageToVerify = {
    reference: parseReference(name),
    target: { mediaType: "index", digest, sizeBytes: 1n },
    manifest: { mediaType: "manifest", digest: ofPlatform, sizeBytes: 1n },
    namespace: "",
  };
  const source: SignatureSource = { signatures: () => Promise.resolve(found) };
  return verifier.verify(image, source, signal);
}

const accept = { type: "insecureAcceptAnything" };
const signed = (more: object = {}) => ({
  type: "sigstoreSigned",
  keyPath: join(dir, "a.pub"),
  ...more,
});

describe("a policy", () => {
  test("accepts what needs no signature", async () => {
    const verdict = await verify(open([accept]));
    assert.equal(verdict.decision, "accepted");
    assert.equal(verdict.policy, `"${path()}": default[0] (insecureAcceptAnything)`);
  });

  test("rejects where one of its requirements does", async () => {
    const verdict = await verify(open([accept, { type: "reject" }]));
    assert.equal(verdict.decision, "rejected");
    assert.equal(verdict.policy, `"${path()}": default[1] (reject)`);
    assert.match(
      verdict.reason,
      new RegExp(`^${digest}: all .* to allow "x.test/app:1", add a scope`),
    );
    const base = { type: "signedBaseLayer", baseLayerIdentity: { type: "matchExact" } };
    const other = await verify(open([base]));
    assert.equal(other.decision, "rejected");
    assert.match(other.reason, /nothing can satisfy signedBaseLayer/);
  });

  test("decides nothing where there is none", async () => {
    const verifier = open([accept]);
    rmSync(path());
    assert.equal((await verify(verifier)).decision, "none");
  });

  test("decides by the name where no signature can change that", async () => {
    const decide = async (requirements: readonly unknown[]): Promise<string | undefined> => {
      const asked = { reference: parseReference("x.test/app:1"), namespace: "" };
      return (await open(requirements).decideByName(asked))?.decision;
    };
    assert.equal(await decide([accept]), "accepted");
    assert.equal(await decide([signed(), { type: "reject" }]), "rejected");
    assert.equal(await decide([accept, signed()]), undefined);
    assert.equal(await decide([{ ...accept, more: 1 }]), undefined);
    const verifier = open([accept]);
    rmSync(path());
    const asked = { reference: parseReference("x.test/app:1"), namespace: "" };
    assert.equal((await verifier.decideByName(asked))?.decision, "none");
  });

  test("that cannot be used rejects with its file and key", async () => {
    await assert.rejects(
      verify(open([{ ...accept, more: 1 }])),
      /policy.json": default\[0\]: it must not/,
    );
  });

  test("has another generation after a change", async () => {
    const verifier = open([signed()]);
    const before = await verifier.generation();
    assert.equal(await verifier.generation(), before);
    writeFileSync(join(dir, "a.pub"), "another key");
    const after = await verifier.generation();
    assert.notEqual(after, before);
    writeFileSync(path(), "{}");
    assert.notEqual(await verifier.generation(), after);
  });
});

describe("sigstoreSigned", () => {
  test("hands keys and signatures to the checker, and accepts one good signature", async () => {
    results = [bad, good];
    const verdict = await verify(open([signed()]), [simple, bundle, simple]);
    assert.equal(verdict.decision, "accepted");
    assert.equal(verdict.reason, `signed by "${dir}/a.pub"`);
    assert.deepEqual(
      verdict.signatures.map(({ valid }) => valid),
      [false, true],
    );
    const [request] = asked;
    assert.deepEqual(request?.digests, [digest, ofPlatform]);
    assert.deepEqual(request.signatures, [simple, simple]);
    assert.deepEqual(request.trust, {
      keys: [{ name: `${dir}/a.pub`, text: "a key" }],
      identities: [],
      trustedRoot: undefined,
      fulcioRoots: [],
      rekorKeys: [],
      ctKeys: [],
      transparencyLog: "ignore",
      predicateTypes: [],
    });
  });

  test("requires an entry in the log where the policy has a key of one", async () => {
    results = [good];
    const data = Buffer.from("PEM").toString("base64");
    const fulcio = { caData: data, oidcIssuer: "https://i.test", subjectEmail: "a@x.test" };
    const requirement = { type: "sigstoreSigned", fulcio, rekorPublicKeyData: data };
    const verdict = await verify(open([requirement]), [simple]);
    assert.equal(verdict.reason, "signed by a@x.test of https://i.test");
    const { trust } = asked[0] ?? {};
    assert.equal(trust?.transparencyLog, "require");
    assert.deepEqual(trust.keys, []);
    assert.deepEqual(trust.identities, [
      { issuer: "https://i.test", subject: "a@x.test", subjectRegexp: "", isEmail: true },
    ]);
    assert.deepEqual(trust.fulcioRoots, [{ name: "CA 1 of the policy", text: "PEM" }]);
    assert.deepEqual(trust.rekorKeys, [{ name: "Rekor key 1 of the policy", text: "PEM" }]);
  });

  test("rejects an image without a signature, with what to do next", async () => {
    const verdict = await verify(open([signed()]), []);
    assert.equal(verdict.decision, "rejected");
    assert.equal(
      verdict.reason,
      `${digest} (manifest ${ofPlatform}) needs a signature by "${dir}/a.pub"; the registry has no signature of cosign for it; sign the image, or change the policy; davit verify -n NAMESPACE IMAGE shows more`,
    );
    assert.equal(asked.length, 0);
    const bundles = await verify(open([signed()]), [bundle]);
    assert.match(bundles.reason, /no signature of cosign for it, only 1 in the format of bundles/);
  });

  test("rejects wrong signatures, with their reasons", async () => {
    results = [bad];
    const { decision, reason } = await verify(open([signed()]), [simple]);
    assert.equal(decision, "rejected");
    assert.match(
      reason,
      /no signature of cosign counts \(sha256:d{12}: wrong key\); sign the image/,
    );
    results = [];
    const unchecked = await verify(open([signed()]), [simple]);
    assert.match(unchecked.reason, /it was not checked/);
  });

  test("checks the name that was signed", async () => {
    results = [{ ...good, signedName: "x.test/app" }];
    const { reason } = await verify(open([signed()]), [simple]);
    assert.match(
      reason,
      /it signs "x.test\/app", not "x.test\/app:1"; cosign signs no tag, so set "signedIdentity"/,
    );
    const repository = signed({ signedIdentity: { type: "matchRepository" } });
    assert.equal((await verify(open([repository]), [simple])).decision, "accepted");
    results = [{ ...good, signedName: "y.test/app" }];
    const other = await verify(open([repository]), [simple]);
    assert.match(other.reason, /it signs "y.test\/app", not "x.test\/app"\)/);
    results = [{ ...good, signedName: "" }];
    assert.equal((await verify(open([repository]), [simple])).decision, "rejected");
  });

  test("rejects with a key that cannot be read", async () => {
    const verifier = open([signed({ keyPath: join(dir, "missing.pub") })]);
    await assert.rejects(verify(verifier, [simple]), /missing.pub": there is no such file/);
  });
});
