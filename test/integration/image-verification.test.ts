/** Images verified by policies: pulls, creates and starts with signatures of a real registry, and `davit verify`. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ecKeys, pemOf } from "../../src/verify/testing/der.ts";
import {
  simplePayload,
  simpleSignature,
  statementBundle,
  TestFulcio,
  TestRekor,
} from "../../src/verify/testing/signing.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { type Blob, busyboxLayer, digestOf, imageOf, type TestImage } from "../support/images.ts";
import type { TestRegistry } from "../support/registry.ts";
import { Davit } from "../support/suites/cli.ts";
import {
  container,
  createIn,
  inPod,
  imageStatus,
  Node,
  pull,
  removeImage,
} from "../support/suites/containers.ts";
import { bare, code, failsWith } from "../support/suites/pods.ts";

const simpleType = "application/vnd.dev.cosign.simplesigning.v1+json";
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";
const layer = busyboxLayer();
const app = imageOf([layer], { Cmd: ["sh"], Labels: { name: "app" } });
const keyless = imageOf([layer], { Cmd: ["sh"], Labels: { name: "keyless" } });
const unsigned = imageOf([layer], { Cmd: ["sh"], Labels: { name: "unsigned" } });
const keys = ecKeys();
const fulcio = new TestFulcio();
const rekor = new TestRekor();

let files: string;
let node: Node;
let daemon: TestDaemon;
let registry: TestRegistry;
let davit: Davit;

/** A manifest with one signature, as cosign pushes it. */
function signatureImage(blob: Blob, annotations: object): TestImage {
  const config = Buffer.from("{}");
  const describe = ({ mediaType, digest, bytes }: Blob): object => ({
    mediaType,
    digest,
    size: bytes.length,
  });
  const configBlob = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    digest: digestOf(config),
    bytes: config,
  };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: describe(configBlob),
      layers: [{ ...describe(blob), annotations }],
    }),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  return {
    config: configBlob,
    layers: [{ ...blob, diffId: blob.digest }],
    manifest: { mediaType, digest: digestOf(bytes), bytes },
  };
}

const blobOf = (bytes: Buffer, mediaType: string): Blob => ({
  bytes,
  mediaType,
  digest: digestOf(bytes),
});

/** Signs an image with a key, at cosign's tag. */
async function signWithKey(repository: string, { manifest }: TestImage): Promise<void> {
  const payload = simplePayload(manifest.digest, `registry.k8s.io/${repository}`);
  const { signature } = simpleSignature(payload, keys.privateKey);
  const annotations = { "dev.cosignproject.cosign/signature": signature };
  const image = signatureImage(blobOf(payload, simpleType), annotations);
  await registry.push(repository, image, [`${manifest.digest.replace(":", "-")}.sig`]);
}

/** Signs an image without a key, as a bundle that refers to it. */
async function signWithoutKey(repository: string, { manifest }: TestImage): Promise<void> {
  const { keys: own, der } = fulcio.leaf();
  const options = { key: own.privateKey, certificate: der, rekor };
  const json = Buffer.from(statementBundle(manifest.digest, options));
  const image = signatureImage(blobOf(json, bundleType), {});
  const { mediaType, digest, bytes } = image.manifest;
  const entry = { mediaType, digest, size: bytes.length, artifactType: bundleType };
  const indexType = "application/vnd.oci.image.index.v1+json";
  const index = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [entry] }),
  );
  const tag = manifest.digest.replace(":", "-");
  await registry.push(repository, image, [tag], blobOf(index, indexType));
}

before(async () => {
  files = mkdtempSync(path.join(tmpdir(), "davit-verify-"));
  const file = (name: string, text: string): string => {
    const at = path.join(files, name);
    writeFileSync(at, text);
    return at;
  };
  const policies = [
    { images: ["registry.k8s.io/signed/*"], keys: [file("cosign.pub", pemOf(keys))] },
    {
      images: ["registry.k8s.io/keyless/*"],
      identities: [{ issuer: "https://issuer.test", subject_regexp: "https://git\\.test/team/.*" }],
      fulcio_roots: [file("fulcio.pem", fulcio.chainPem)],
      rekor_keys: [file("rekor.pub", rekor.pem)],
    },
    { images: ["registry.k8s.io/forbidden/**"], action: "reject" },
  ];
  node = await Node.start({ images: { verification: { policies, policy_json: "" } } });
  ({ daemon, registry } = node);
  davit = new Davit(daemon);
  await registry.push("signed/app", app, ["1"]);
  await registry.push("signed/unsigned", unsigned, ["1"]);
  await registry.push("keyless/app", keyless, ["1"]);
  await registry.push("forbidden/app", app, ["1"]);
  await registry.push("free/app", unsigned, ["1"]);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(files, { recursive: true });
});

const validationFailed = (words: RegExp) => (error: unknown) => {
  failsWith(code.unknown, /^SignatureValidationFailed: /)(error);
  return failsWith(code.unknown, words)(error);
};

describe("images with policies", () => {
  test("an unsigned image is not pulled, and kubelet learns why", async () => {
    const name = "registry.k8s.io/signed/unsigned:1";
    await assert.rejects(
      pull(daemon, name),
      validationFailed(
        /policy 1 of images\.verification\.policies.*it has no signature.*cosign\.pub/,
      ),
    );
    assert.equal(await imageStatus(daemon, name), undefined);
    assert.equal(registry.count(/blobs/), 0);
    const { code: exit, out } = await davit.run("verify", name);
    assert.notEqual(exit, 0);
    assert.match(out, /Rejected: a pull would fail now/);
  });

  test("an image that a policy rejects is not pulled, one that no policy is about is", async () => {
    const forbidden = "registry.k8s.io/forbidden/app:1";
    await assert.rejects(pull(daemon, forbidden), validationFailed(/policy 3/));
    const free = "registry.k8s.io/free/app:1";
    await pull(daemon, free);
    await removeImage(daemon, free);
  });

  test("a signed image is pulled; its containers start while the registry is gone", async () => {
    const name = "registry.k8s.io/signed/app:1";
    await signWithKey("signed/app", app);
    await pull(daemon, name);
    const asked = registry.requests.length;
    await inPod(daemon, bare(), async (pod) => {
      const id = await createIn(
        pod,
        container({ image: { image: name, userSpecifiedImage: name } }),
      );
      await daemon.client.runtime.startContainer({ containerId: id });
    });
    assert.equal(registry.requests.length, asked);
    const explained = JSON.parse(await davit.done("verify", "-o", "json", name)) as {
      readonly accepted: boolean;
      readonly verifications: readonly {
        readonly digest: string;
        readonly verifiers: readonly {
          readonly decision: string;
          readonly signatures: readonly { readonly signer: string; readonly valid: boolean }[];
        }[];
      }[];
    };
    const [first] = explained.verifications;
    assert.equal(explained.accepted, true);
    assert.equal(first?.digest, app.manifest.digest);
    assert.match(first.verifiers[0]?.signatures[0]?.signer ?? "", /^key ".*\/cosign\.pub"$/);

    // After a change of the key, the next create asks; the signature is by none of the keys now.
    writeFileSync(path.join(files, "cosign.pub"), pemOf(ecKeys()));
    await inPod(daemon, bare(), async (pod) => {
      await assert.rejects(
        createIn(pod, container({ image: { image: name, userSpecifiedImage: name } })),
        failsWith(
          code.permissionDenied,
          /SignatureValidationFailed: verify image .*by none of the keys/,
        ),
      );
    });
    writeFileSync(path.join(files, "cosign.pub"), pemOf(keys));
    await inPod(daemon, bare(), async (pod) => {
      await createIn(pod, container({ image: { image: name, userSpecifiedImage: name } }));
    });
  });

  test("an image with a keyless bundle is pulled", async () => {
    const name = "registry.k8s.io/keyless/app:1";
    await assert.rejects(pull(daemon, name), validationFailed(/it has no signature/));
    await signWithoutKey("keyless/app", keyless);
    await pull(daemon, name);
    const out = await davit.done("verify", name);
    assert.match(out, /identity "https:\/\/git\.test\/team\/app\/release@main"/);
    assert.match(out, /Accepted: a start would be allowed now/);
  });
});
