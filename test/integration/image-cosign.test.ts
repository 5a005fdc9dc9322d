/** Signatures of the program cosign, as operators make them with keys: what davit says of them, and what cosign says. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { findProgram } from "../../src/linux/process/index.ts";
import { type Blob, imageOf, indexOf, layerOf, type TestImage } from "../support/images.ts";
import { Davit } from "../support/suites/cli.ts";
import { Node, pull, removeImage } from "../support/suites/containers.ts";
import { code, failsWith } from "../support/suites/pods.ts";

const run = promisify(execFile);
const cosign = findProgram("cosign", "/usr/bin:/bin");
const plain = ["--allow-http-registry", "--allow-insecure-registry"];
const offline = ["--yes", "--tlog-upload=false"];
const signatureType = "https://sigstore.dev/cosign/sign/v1";

/** Keys of types that this version of cosign verifies, and neither makes nor imports. */
const ownKeys = {
  rsa: generateKeyPairSync("rsa", { modulusLength: 3072 }),
  p384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
};

describe("cosign", { skip: cosign === undefined && "cosign is not installed" }, () => {
  let files: string;
  let node: Node;
  let davit: Davit;

  const at = (name: string): string => path.join(files, name);
  const key = (name: string): readonly string[] => ["--key", at(`${name}.key`)];
  const publicKey = (name: string): readonly string[] => ["--key", at(`${name}.pub`)];
  const nameOf = (repository: string): string => `${node.registry.address}/${repository}:1`;
  const byDigest = (repository: string, { digest }: Blob): string =>
    `${node.registry.address}/${repository}@${digest}`;

  /** The output of cosign. Not while this process waits: the registry's proxy runs in it. */
  async function runs(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
    const own = { PATH: process.env["PATH"], HOME: files, COSIGN_PASSWORD: "secret", ...env };
    const { stdout } = await run("cosign", args, { cwd: files, env: own, timeout: 120_000 });
    return stdout;
  }

  /** What `cosign verify` says of an image. */
  async function cosignAccepts(
    reference: string,
    keyName: string,
    ...more: readonly string[]
  ): Promise<boolean> {
    const args = ["verify", ...plain, "--insecure-ignore-tlog", ...publicKey(keyName), ...more];
    try {
      await runs([...args, reference], { COSIGN_EXPERIMENTAL: "1" });
      return true;
    } catch (error) {
      assert.match(String(error), /no signatures found|no matching signatures|invalid signature/);
      return false;
    }
  }

  /** What `davit verify` says of an image, which is not on the node. */
  async function davitSays(reference: string): Promise<Answer> {
    const { out } = await davit.run("verify", "-o", "json", reference);
    return JSON.parse(out) as Answer;
  }

  async function davitAccepts(reference: string): Promise<boolean> {
    return (await davitSays(reference)).accepted;
  }

  async function pushed(repository: string): Promise<TestImage> {
    const image = imageOf([layerOf([{ path: "name", body: repository }])], { Cmd: ["true"] });
    await node.registry.push(repository, image, ["1"]);
    return image;
  }

  /** Makes a signature of a document, for keys of types that cosign does not have, and lets cosign push it. */
  async function attaches(
    repository: string,
    { manifest }: TestImage,
    { payload, privateKey }: { readonly payload: string; readonly privateKey: KeyObject },
  ): Promise<void> {
    writeFileSync(at("payload"), payload);
    const signature = sign("sha256", Buffer.from(payload), privateKey).toString("base64");
    writeFileSync(at("signature"), signature);
    const from = ["--payload", at("payload"), "--signature", at("signature")];
    await runs(["attach", "signature", ...plain, ...from, byDigest(repository, manifest)]);
  }

  const generated = (repository: string, { manifest }: TestImage): Promise<string> =>
    runs(["generate", ...plain, byDigest(repository, manifest)]);

  const signs = (reference: string, ...more: readonly string[]): Promise<string> =>
    runs(["sign", ...plain, ...offline, ...more, reference], { COSIGN_EXPERIMENTAL: "1" });

  before(async () => {
    files = mkdtempSync(path.join(tmpdir(), "davit-cosign-"));
    mkdirSync(at("policies"));
    for (const name of ["team", "other"]) {
      await runs(["generate-key-pair", "--output-key-prefix", name]);
    }
    const ed25519 = generateKeyPairSync("ed25519");
    writeFileSync(at("ed25519.pem"), ed25519.privateKey.export({ type: "pkcs8", format: "pem" }));
    const imported = ["--key", at("ed25519.pem"), "--output-key-prefix", "ed25519"];
    await runs(["import-key-pair", "--yes", ...imported]);
    for (const [name, { publicKey: pem }] of Object.entries(ownKeys)) {
      writeFileSync(at(`${name}.pub`), pem.export({ type: "spki", format: "pem" }));
    }
    const accept = [{ type: "insecureAcceptAnything" }];
    writeFileSync(at("policy.json"), JSON.stringify({ default: accept }));
    const keys = ["team", "ed25519", "rsa", "p384"];
    const policies = [
      ...keys.map((name) => ({ images: [`127.0.0.1:*/${name}/**`], keys: [at(`${name}.pub`)] })),
      { images: ["registry.k8s.io/team/**"], keys: [at("team.pub")] },
    ];
    const policyJson = { policy_json: at("policy.json"), policy_json_directory: at("policies") };
    node = await Node.start({ images: { verification: { policies, ...policyJson } } });
    node.registry.mirror(node.registry.address);
    davit = new Davit(node.daemon);
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    rmSync(files, { recursive: true });
  });

  const oci11 = "--registry-referrers-mode=oci-1-1";
  const ways: readonly (readonly [string, string, readonly string[], readonly string[]])[] = [
    ["at its tag", "team", [], []],
    ["with annotations", "team", ["-a", "commit=1234", "-a", "build=7"], ["-a", "build=7"]],
    ["with the time of its creation", "team", ["--record-creation-timestamp"], []],
    ["as a referrer", "team", [oci11], ["--experimental-oci11"]],
    ["by an Ed25519 key that it imported", "ed25519", [], []],
  ];
  for (const [index, [how, keyName, signArgs, verifyArgs]] of ways.entries()) {
    test(`an image that it signs ${how} is accepted by both, and pulled`, async () => {
      const repository = `${keyName}/way${index}`;
      const { manifest } = await pushed(repository);
      const name = nameOf(repository);
      assert.equal(await davitAccepts(name), false);
      assert.equal(await cosignAccepts(name, keyName), false);
      await signs(byDigest(repository, manifest), ...key(keyName), ...signArgs);
      assert.equal(await cosignAccepts(name, keyName, ...verifyArgs), true);
      const { accepted, verifications } = await davitSays(name);
      assert.equal(accepted, true);
      const [signature] = signaturesIn(verifications);
      assert.match(signature?.signer ?? "", new RegExp(`^key ".*/${keyName}\\.pub"$`));
      await pull(node.daemon, name);
      await removeImage(node.daemon, name);
    });
  }

  for (const [type, { privateKey }] of Object.entries(ownKeys)) {
    test(`signatures of other programs that it attaches are accepted by both: ${type}`, async () => {
      const repository = `${type}/app`;
      const image = await pushed(repository);
      await attaches(repository, image, {
        payload: await generated(repository, image),
        privateKey,
      });
      assert.equal(await cosignAccepts(nameOf(repository), type), true);
      assert.equal(await davitAccepts(nameOf(repository)), true);
    });
  }

  test("of several signatures one by the key is enough", async () => {
    const { manifest } = await pushed("team/several");
    const reference = byDigest("team/several", manifest);
    await signs(reference, ...key("other"));
    assert.equal(await cosignAccepts(reference, "team"), false);
    assert.equal(await davitAccepts(reference), false);
    await assert.rejects(
      pull(node.daemon, reference),
      failsWith(code.unknown, /^SignatureValidationFailed: .*by none of the keys/),
    );
    await signs(reference, ...key("team"));
    await signs(reference, ...key("other"), "-a", "more=1");
    assert.equal(await cosignAccepts(reference, "team"), true);
    const { accepted, verifications } = await davitSays(reference);
    assert.equal(accepted, true);
    assert.deepEqual(
      signaturesIn(verifications)
        .map(({ valid }) => valid)
        .toSorted(),
      [false, false, true],
    );
  });

  test("signatures of other images, and changed ones, are refused by both", async () => {
    const signed = await pushed("rsa/signed");
    const { rsa } = ownKeys;
    const payload = await generated("rsa/signed", signed);
    const other = await pushed("rsa/other");
    await attaches("rsa/other", other, { payload, privateKey: rsa.privateKey });
    const changed = await pushed("rsa/changed");
    await attaches("rsa/changed", changed, { payload, privateKey: rsa.privateKey });
    // The document of this image, with the signature of that one.
    writeFileSync(at("payload"), await generated("rsa/changed", changed));
    const from = ["--payload", at("payload"), "--signature", at("signature")];
    await runs([
      "attach",
      "signature",
      ...plain,
      ...from,
      byDigest("rsa/changed", changed.manifest),
    ]);
    const byOther = await pushed("rsa/byother");
    const { privateKey } = ownKeys.p384;
    const own = await generated("rsa/byother", byOther);
    await attaches("rsa/byother", byOther, { payload: own, privateKey });
    for (const repository of ["rsa/other", "rsa/changed", "rsa/byother"]) {
      assert.equal(await cosignAccepts(nameOf(repository), "rsa"), false, repository);
      const { accepted, verifications } = await davitSays(nameOf(repository));
      assert.equal(accepted, false, repository);
      assert.ok(signaturesIn(verifications).length > 0, repository);
    }
  });

  test("attestations do not count as signatures for both, in either format", async () => {
    const { manifest } = await pushed("team/attested");
    const reference = byDigest("team/attested", manifest);
    writeFileSync(at("predicate"), "{}");
    const about = ["--type", "https://example.test/scanned", "--predicate", at("predicate")];
    const attest = ["attest", ...plain, ...offline, ...key("team"), ...about];
    await runs([...attest, reference]);
    await runs([...attest, "--new-bundle-format", reference]);
    assert.equal(await cosignAccepts(reference, "team"), false);
    const { accepted, verifications } = await davitSays(reference);
    assert.equal(accepted, false);
    const [signature] = signaturesIn(verifications);
    assert.match(signature?.reason ?? "", /statement of type .*scanned", which is not a signature/);
  });

  test("a bundle that says that it is a signature is one for davit; cosign 2.5 finds none", async () => {
    const { manifest } = await pushed("team/bundle");
    const reference = byDigest("team/bundle", manifest);
    writeFileSync(at("predicate"), "{}");
    const about = ["--type", signatureType, "--predicate", at("predicate"), "--new-bundle-format"];
    await runs(["attest", ...plain, ...offline, ...key("team"), ...about, reference]);
    assert.equal(await cosignAccepts(reference, "team"), false);
    assert.equal(await davitAccepts(reference), true);
  });

  test("of a multi-platform image, the index or the manifest of the node's platform is signed", async () => {
    const kinds = { index: [], all: ["--recursive"] };
    for (const [kind, more] of Object.entries(kinds)) {
      const repository = `team/multi-${kind}`;
      const index = await pushedIndex(repository);
      await signs(byDigest(repository, index.index), ...key("team"), ...more);
      assert.equal(await cosignAccepts(nameOf(repository), "team"), true);
      assert.equal(await davitAccepts(nameOf(repository)), true);
      const manifest = byDigest(repository, index.own.manifest);
      assert.equal(await cosignAccepts(manifest, "team"), kind === "all");
      assert.equal(await davitAccepts(manifest), kind === "all");
    }
    // cosign asks for a signature of what the name stands for, davit for one of what it runs.
    const { own } = await pushedIndex("team/multi-own");
    await signs(byDigest("team/multi-own", own.manifest), ...key("team"));
    assert.equal(await cosignAccepts(nameOf("team/multi-own"), "team"), false);
    assert.equal(await davitAccepts(nameOf("team/multi-own")), true);
    const { others } = await pushedIndex("team/multi-others");
    await signs(byDigest("team/multi-others", others.manifest), ...key("team"));
    assert.equal(await davitAccepts(nameOf("team/multi-others")), false);
  });

  test("the name in a signature counts for davit, and for cosign it does not", async () => {
    const { manifest } = await pushed("team/copied");
    const reference = byDigest("team/copied", manifest);
    const other = "registry.k8s.io/team/copied:1";
    await signs(reference, ...key("team"));
    assert.equal(await davitAccepts(nameOf("team/copied")), true);
    const { accepted, verifications } = await davitSays(other);
    assert.equal(accepted, false);
    assert.match(signaturesIn(verifications)[0]?.reason ?? "", /another repository/);
    const identity = "--sign-container-identity=registry.k8s.io/team/copied";
    await signs(reference, ...key("team"), identity);
    assert.equal(await cosignAccepts(reference, "team"), true);
    assert.equal(await davitAccepts(other), true);
  });

  test("policy.json accepts what the key has signed", async () => {
    const repository = "free/app";
    const requirement = {
      type: "sigstoreSigned",
      keyPath: at("team.pub"),
      signedIdentity: { type: "matchRepository" },
    };
    const scope = `${node.registry.address}/free`;
    const policy = {
      default: [{ type: "insecureAcceptAnything" }],
      transports: { docker: { [scope]: [requirement] } },
    };
    writeFileSync(at("policy.json"), JSON.stringify(policy));
    const { manifest } = await pushed(repository);
    const reference = byDigest(repository, manifest);
    assert.equal(await davitAccepts(nameOf(repository)), false);
    await signs(reference, ...key("other"));
    assert.equal(await davitAccepts(nameOf(repository)), false);
    await signs(reference, ...key("team"));
    assert.equal(await davitAccepts(nameOf(repository)), true);
    await pull(node.daemon, nameOf(repository));
    await removeImage(node.daemon, nameOf(repository));
  });

  /** An image for this machine and one for another kind of machine, with their index at the tag. */
  async function pushedIndex(repository: string) {
    const [own, others] = ["own", "others"].map((kind) =>
      imageOf([layerOf([{ path: "name", body: `${repository} ${kind}` }])], { Cmd: ["true"] }),
    );
    assert.ok(own !== undefined && others !== undefined);
    const index = indexOf(own, others);
    await node.registry.push(repository, others, []);
    await node.registry.push(repository, own, ["1"], index);
    return { own, others, index };
  }
});

/** The output of `davit verify -o json`, as far as it is used here. */
interface Answer {
  readonly accepted: boolean;
  readonly verifications?: readonly Verification[];
}

interface Verification {
  readonly verifiers: readonly { readonly signatures?: readonly Signature[] }[];
}

interface Signature {
  readonly signer?: string;
  readonly valid?: boolean;
  readonly reason?: string;
}

function signaturesIn(verifications: readonly Verification[] = []): readonly Signature[] {
  return verifications.flatMap(({ verifiers }) =>
    verifiers.flatMap(({ signatures = [] }) => signatures),
  );
}
