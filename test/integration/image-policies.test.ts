/** Image policies that nodes have: programs of containerd's bindir verifier, and policy.json with its signatures. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { findProgram } from "../../src/linux/process/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { type Blob, digestOf, imageOf, layerOf, type TestImage } from "../support/images.ts";
import {
  closePod,
  container,
  createIn,
  Node,
  openPod,
  pull,
  remove,
  start,
} from "../support/suites/containers.ts";
import { bare, code, failsWith } from "../support/suites/pods.ts";

const ours = generateKeyPairSync("ec", { namedCurve: "P-256" });
const theirs = generateKeyPairSync("ec", { namedCurve: "P-256" });
const nameOf = (image: string): string => `registry.k8s.io/policy/${image}:1`;
const images: Readonly<Record<string, TestImage>> = Object.fromEntries(
  ["signed", "unsigned", "wrong", "gpg"].map((name) => [
    name,
    imageOf([layerOf([{ path: "name", body: name }])], { Cmd: ["true"] }),
  ]),
);

let files: string;
let node: Node;
let daemon: TestDaemon;

function imageNamed(name: string): TestImage {
  const image = images[name];
  assert.ok(image !== undefined);
  return image;
}

/** The image with a signature that cosign attaches to an image, and its tag. */
function cosignSignature(of: string, name: string, key: KeyObject) {
  const payload = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": name },
        image: { "docker-manifest-digest": of },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
  const blob = (mediaType: string, bytes: Buffer): Blob => ({
    mediaType,
    digest: digestOf(bytes),
    bytes,
  });
  const layer = blob("application/vnd.dev.cosign.simplesigning.v1+json", payload);
  const config = blob("application/vnd.oci.image.config.v1+json", Buffer.from("{}"));
  const descriptorOf = ({ mediaType, digest, bytes }: Blob) => ({
    mediaType,
    digest,
    size: bytes.length,
  });
  const signature = sign("sha256", payload, key).toString("base64");
  const annotations = { "dev.cosignproject.cosign/signature": signature };
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: descriptorOf(config),
    layers: [{ ...descriptorOf(layer), annotations }],
  };
  const image: TestImage = {
    manifest: blob(mediaType, Buffer.from(JSON.stringify(manifest))),
    config,
    layers: [{ ...layer, diffId: "" }],
  };
  return { image, tag: `${of.replace(":", "-")}.sig` };
}

function policy(file: string, requirements: readonly unknown[]): void {
  writeFileSync(path.join(files, file), JSON.stringify({ default: requirements }));
}

/** Replaces the programs of the directory. */
function programs(scripts: Readonly<Record<string, string>>): void {
  const bin = path.join(files, "bin");
  rmSync(bin, { recursive: true, force: true });
  mkdirSync(bin);
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(path.join(bin, name), 0o755);
  }
}

const accept = { type: "insecureAcceptAnything" };
const rejected = (why: RegExp) =>
  failsWith(code.unknown, new RegExp(`SignatureValidationFailed: .*${why.source}`));
/** How often the registry was asked for the config or a layer of an image. */
const fetches = ({ config, layers }: TestImage): number =>
  node.registry.count(new RegExp([config, ...layers].map(({ digest }) => digest).join("|")));

before(async () => {
  files = mkdtempSync(path.join(tmpdir(), "davit-image-policies-"));
  mkdirSync(path.join(files, "policies"));
  programs({});
  policy("policy.json", [accept]);
  const pem = ours.publicKey.export({ type: "spki", format: "pem" });
  writeFileSync(path.join(files, "ours.pub"), pem);
  node = await Node.start({
    images: {
      verification: {
        bindir: path.join(files, "bin"),
        bindir_timeout_seconds: 60,
        policy_json: path.join(files, "policy.json"),
        policy_json_directory: path.join(files, "policies"),
      },
    },
  });
  daemon = node.daemon;
  for (const [name, image] of Object.entries(images)) {
    await node.registry.push(`policy/${name}`, image, ["1"]);
  }
  for (const [name, key] of Object.entries({ signed: ours.privateKey, wrong: theirs.privateKey })) {
    const { digest } = imageNamed(name).manifest;
    const repository = `registry.k8s.io/policy/${name}`;
    const { image, tag } = cosignSignature(digest, repository, key);
    await node.registry.push(`policy/${name}`, image, [tag]);
  }
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(files, { recursive: true, force: true });
});
beforeEach(() => {
  programs({});
  policy("policy.json", [accept]);
});

describe("programs of bindir", () => {
  test("allow one image and reject another before a byte of it is fetched", async () => {
    const { digest } = imageNamed("signed").manifest;
    programs({ check: `[ "$4" = ${digest} ] && exit 0; echo "not on the list of $2"; exit 7` });
    await pull(daemon, nameOf("signed"));
    await assert.rejects(
      pull(daemon, nameOf("unsigned")),
      rejected(
        /"check" rejects sha256:[0-9a-f]{64} \(exit code 7\): not on the list of registry.k8s.io\/policy\/unsigned:1; sign the image/,
      ),
    );
    assert.equal(fetches(imageNamed("unsigned")), 0);
  });

  test("that die reject", async () => {
    programs({ dies: "kill -9 $$" });
    const why = /dies": it was ended by signal 9/;
    await assert.rejects(pull(daemon, nameOf("unsigned")), rejected(why));
  });
});

describe("sigstoreSigned", () => {
  const requirement = (changes: object = {}) => ({
    type: "sigstoreSigned",
    keyPath: path.join(files, "ours.pub"),
    signedIdentity: { type: "matchRepository" },
    ...changes,
  });

  test("accepts a signature by its key, and rejects none and that of another key", async () => {
    policy("policy.json", [requirement()]);
    await pull(daemon, nameOf("signed"));
    await assert.rejects(
      pull(daemon, nameOf("unsigned")),
      rejected(
        /policy.json": default\[0\] \(sigstoreSigned\): sha256:[0-9a-f]{64} needs a signature by ".*ours.pub"; the registry has no signature of cosign for it; sign the image, or change the policy/,
      ),
    );
    const wrong = /no signature of cosign counts \(sha256:[0-9a-f]{12}: .*\); sign the image/;
    await assert.rejects(pull(daemon, nameOf("wrong")), rejected(wrong));
    assert.equal(fetches(imageNamed("wrong")), 0);
  });

  test("rejects a signature that has no tag where the policy needs one", async () => {
    policy("policy.json", [requirement({ signedIdentity: undefined })]);
    const why = /cosign signs no tag, so set "signedIdentity"/;
    await assert.rejects(pull(daemon, nameOf("signed")), rejected(why));
  });

  test("decides at the start of a container, too, as it is then", async () => {
    await pull(daemon, nameOf("signed"));
    await pull(daemon, nameOf("unsigned"));
    const pod = await openPod(daemon, bare());
    const of = (name: string) => {
      const image = { image: nameOf(name), userSpecifiedImage: nameOf(name) };
      return container({ image, command: ["true"] });
    };
    const created = await createIn(pod, of("unsigned"));
    policy("policy.json", [requirement()]);
    const why = /needs a signature by ".*ours.pub"/;
    await assert.rejects(start(daemon, created), why);
    await assert.rejects(createIn(pod, of("unsigned")), why);
    await remove(daemon, await createIn(pod, of("signed")));
    await remove(daemon, created);
    await closePod(pod);
  });
});

describe("policies of namespaces", () => {
  const pullFor = async (namespace: string): Promise<void> => {
    const metadata = { name: "p", uid: "u", namespace };
    const image = { image: nameOf("unsigned") };
    await daemon.client.image.pullImage({ image, sandboxConfig: { metadata } });
  };

  test("replace that of all pods", async () => {
    policy("policy.json", [{ type: "reject" }]);
    policy("policies/team.json", [accept]);
    await pullFor("team");
    const why = /policy.json": default\[0\] \(reject\): .*all images of this scope are rejected/;
    await assert.rejects(pullFor("other"), rejected(why));
    writeFileSync(path.join(files, "policies/team.json"), '{"default": [], "default": []}');
    await assert.rejects(pullFor("team"), rejected(/team.json": it has the key "default" twice/));
  });
});

const missing = ["gpg", "setpriv"].filter(
  (name) => findProgram(name, "/usr/bin:/bin") === undefined,
);
describe("signedBy", { skip: missing.length > 0 && `${missing.join(", ")} not installed` }, () => {
  let secrets: string;
  const gpg = (args: readonly string[], input = ""): Buffer =>
    execFileSync("gpg", ["--homedir", secrets, "--batch", "--quiet", "--no-tty", ...args], {
      input,
      stdio: ["pipe", "pipe", "ignore"],
    });

  before(() => {
    secrets = path.join(files, "s");
    mkdirSync(secrets, { mode: 0o700 });
    const options = ["--passphrase", "", "--pinentry-mode", "loopback"];
    gpg([...options, "--quick-gen-key", "team@x.test", "ed25519", "sign", "never"]);
    writeFileSync(path.join(files, "team.asc"), gpg(["--armor", "--export"]));
    mkdirSync(path.join(files, "registries.d"));
    const store = pathToFileURL(path.join(files, "store")).href;
    const text = `docker: { registry.k8s.io/policy: { lookaside: "${store}" } }`;
    writeFileSync(path.join(files, "registries.d/a.yaml"), text);
  });
  after(() => void execFileSync("gpgconf", ["--homedir", secrets, "--kill", "all"]));

  test("accepts a signature of its store, and rejects an image without one", async () => {
    const keyPath = path.join(files, "team.asc");
    policy("policy.json", [{ type: "signedBy", keyType: "GPGKeys", keyPath }]);
    await assert.rejects(
      pull(daemon, nameOf("gpg")),
      rejected(
        /needs a signature by ".*team.asc"; there is no GPG signature in "file:.*policy\/gpg"/,
      ),
    );
    const { digest } = imageNamed("gpg").manifest;
    const critical = {
      type: "atomic container signature",
      image: { "docker-manifest-digest": digest },
      identity: { "docker-reference": nameOf("gpg") },
    };
    const directory = path.join(files, `store/policy/gpg@${digest.replace(":", "=")}`);
    mkdirSync(directory, { recursive: true });
    const signature = gpg(["--output", "-", "--sign"], JSON.stringify({ critical, optional: {} }));
    writeFileSync(path.join(directory, "signature-1"), signature);
    await pull(daemon, nameOf("gpg"));
  });
});
