/** Images with encrypted layers: by skopeo and by davit's own test code, with keys that come and go. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ociLayout, tarOf } from "../support/archives.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  encryptBySkopeo,
  encryptImage,
  writeKey,
  writePublicKey,
} from "../support/encrypted-images.ts";
import { imageOf, layerOf, type TestImage } from "../support/images.ts";
import { Davit } from "../support/suites/cli.ts";
import {
  imageStatus,
  layersThere,
  Node,
  pull,
  removeAllImages,
} from "../support/suites/containers.ts";
import { code, failsWith } from "../support/suites/pods.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const secret = "the secret of an image\n";
const layers = [
  layerOf([{ path: "secret", body: secret }]),
  layerOf([{ path: "large", body: Buffer.alloc(3_000_000, "large") }], "zstd"),
];
const plain = imageOf(layers);

let directory: string;
let keys: string;
let node: Node;
let daemon: TestDaemon;
let davit: Davit;

before(async () => {
  directory = mkdtempSync(path.join(tmpdir(), "davit-encryption-"));
  keys = path.join(directory, "keys");
  mkdirSync(keys);
  node = await Node.start({ images: { decryption_keys_path: keys } });
  daemon = node.daemon;
  davit = new Davit(daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const at = (name: string): string => path.join(directory, name);

/** Runs with a private key in the directory of the node's keys. */
async function withKey(key: typeof rsa.privateKey, use: () => Promise<void>): Promise<void> {
  const file = path.join(keys, "node.pem");
  writeKey(file, key);
  try {
    await use();
  } finally {
    rmSync(file);
    await removeAllImages(daemon);
  }
}

const layersOf = (): string => path.join(daemon.paths.root, "layers");

function fileOf(image: TestImage, layer: number, name: string): string {
  const hex = image.layers[layer]?.diffId.slice("sha256:".length) ?? "";
  return readFileSync(path.join(layersOf(), hex, "fs", name), "utf8");
}

/** Pulls an image that is encrypted for both keys, with each of them. */
async function pullsWithEach(name: string, image: TestImage): Promise<void> {
  await node.registry.push(name, image, ["1"]);
  for (const { privateKey } of [rsa, ec]) {
    await withKey(privateKey, async () => {
      assert.equal(await pull(daemon, `images.test/${name}:1`), image.config.digest);
      assert.equal(fileOf(image, 0, "secret"), secret);
      assert.equal(fileOf(image, 1, "large").length, 3_000_000);
    });
  }
}

describe("an image with encrypted layers", () => {
  test("by skopeo is pulled with the key of one of its recipients", async () => {
    const publicKeys = [rsa, ec].map(({ publicKey }, index) =>
      writePublicKey(at(`${index}.pub`), publicKey),
    );
    const options = publicKeys.map((file) => `jwe:${file}`);
    await pullsWithEach("locked/skopeo", encryptBySkopeo(plain, options));
    const one = encryptBySkopeo(plain, options.slice(1));
    await node.registry.push("locked/one", one, ["1"]);
    await withKey(ec.privateKey, async () => {
      assert.equal(await pull(daemon, "images.test/locked/one:1"), one.config.digest);
    });
  });

  test("by skopeo for a certificate is refused with what is supported", async () => {
    writeKey(at("rsa.pem"), rsa.privateKey);
    const request = ["req", "-new", "-x509", "-key", at("rsa.pem"), "-subj", "/CN=node"];
    execFileSync("openssl", [...request, "-out", at("node.crt")], { stdio: "ignore" });
    const image = encryptBySkopeo(plain, [`pkcs7:${at("node.crt")}`]);
    await node.registry.push("locked/pkcs7", image, ["1"]);
    const text =
      /decrypt layer 1 of 2, blob "sha256:[0-9a-f]{64}": its key is encrypted with "pkcs7", and jwe is supported/;
    const failing = pull(daemon, "images.test/locked/pkcs7:1");
    await assert.rejects(failing, failsWith(code.unimplemented, text));
  });

  test("needs a key for each pull, and is saved and loaded without encryption", async () => {
    const { image, key } = await encryptImage(plain, [{ key: rsa.publicKey, id: "node-7" }]);
    const name = "images.test/locked/own:1";
    await node.registry.push("locked/own", image, ["1"]);
    const text =
      /for one recipient of jwe \("RSA-OAEP" with the key ID "node-7"\), and there is no private key in/;
    const blobs = (): number => node.registry.count(/^GET .*\/locked\/own\/blobs/);
    await assert.rejects(pull(daemon, name), failsWith(code.failedPrecondition, text));
    const explained = await davit.run("pull", "--explain", name);
    assert.match(explained.out, /A pull would fail: decrypt layer 1 of 2/);
    assert.equal(blobs(), 2, "only the config was fetched");
    await withKey(rsa.privateKey, async () => {
      const would = await davit.done("pull", "--explain", name);
      assert.match(would, /fetch: not on this node; encrypted, and a key of this node decrypts it/);
      await pull(daemon, name);
      const fetched = blobs();
      // The layers are used again, after the registry has granted them.
      await pull(daemon, name);
      assert.equal(node.registry.count(/^GET .*\/locked\/own\/blobs/), fetched + 1);
      rmSync(path.join(keys, "node.pem"));
      await assert.rejects(pull(daemon, name), failsWith(code.failedPrecondition, text));
      await davit.done("verify", name);
      await davit.done("save", "-o", at("saved.tar"), name);
      await removeAllImages(daemon);
      await davit.done("load", at("saved.tar"));
      // The layers have other digests than those that were pulled.
      const files = layersThere(daemon).map((layer) => path.join(layersOf(), layer, "fs/secret"));
      const found = files.filter((file) => existsSync(file));
      assert.deepEqual(
        found.map((file) => readFileSync(file, "utf8")),
        [secret],
      );
      writeKey(path.join(keys, "node.pem"), rsa.privateKey);
    });
    const said = JSON.stringify(daemon.lines);
    for (const text of [key.toString("base64"), key.toString("hex")]) {
      assert.ok(!said.includes(text), "the key of a layer is in the log");
    }
  });

  test("is decrypted when its download breaks off and is resumed", async () => {
    const body = randomBytes(3_000_000);
    const open = imageOf([layerOf([{ path: "noise", body }])]);
    const { image } = await encryptImage(open, [{ key: ec.publicKey }]);
    await node.registry.push("locked/cut", image, ["1"]);
    const blob = new RegExp(`^GET .*/locked/cut/blobs/${image.layers[0]?.digest}`);
    // Not at the end of a block of the cipher.
    node.registry.cut(blob, 1_500_007);
    await withKey(ec.privateKey, async () => {
      await pull(daemon, "images.test/locked/cut:1");
      assert.equal(node.registry.count(blob), 2);
      const hex = image.layers[0]?.diffId.slice("sha256:".length) ?? "";
      assert.deepEqual(readFileSync(path.join(layersOf(), hex, "fs/noise")), body);
    });
  });

  test("is loaded from an archive with a key", async () => {
    const { image } = await encryptImage(plain, [{ key: ec.publicKey }]);
    const annotations = { "io.containerd.image.name": "images.test/locked/archive:1" };
    const archive = tarOf(ociLayout([image], [{ blob: image.manifest, annotations }]));
    writeFileSync(at("locked.tar"), archive);
    const failed = await davit.run("load", at("locked.tar"));
    assert.notEqual(failed.code, 0);
    assert.match(failed.err, /decrypt layer 1 of 2/);
    await withKey(ec.privateKey, async () => {
      await davit.done("load", at("locked.tar"));
      const found = await imageStatus(daemon, "images.test/locked/archive:1");
      assert.equal(found?.id, image.config.digest);
      assert.equal(fileOf(image, 0, "secret"), secret);
    });
  });
});
