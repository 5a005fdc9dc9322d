/**
 * E1: an image with an encrypted layer was pulled, so the layer is on the node, decrypted. Whoever may read the
 * repository knows the digest of the encrypted blob, and the config with the diff id is not encrypted: an image that
 * names both must not give the layer to a pull that could not decrypt the blob.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { annotationsOf } from "../../src/drivers/decryption/testing/encrypt-layer.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type DescribedLayer,
  encryptImage,
  withLayers,
  writeKey,
} from "../support/encrypted-images.ts";
import { imageOf, layerOf, type TestImage } from "../support/images.ts";
import { imageStatus, Node, pull, removeAllImages } from "../support/suites/containers.ts";
import { code, failsWith } from "../support/suites/pods.ts";

const dataLoss = 15;
const ownKey = generateKeyPairSync("rsa", { modulusLength: 2048 });
const plain = imageOf([layerOf([{ path: "secret", body: randomBytes(100_000) }])]);
const name = "images.test/owner/app:1";

let directory: string;
let keyFile: string;
let node: Node;
let daemon: TestDaemon;
let locked: TestImage;

before(async () => {
  directory = mkdtempSync(path.join(tmpdir(), "davit-e01-"));
  const keys = path.join(directory, "keys");
  mkdirSync(keys);
  keyFile = path.join(keys, "node.pem");
  node = await Node.start({ images: { decryption_keys_path: keys } });
  daemon = node.daemon;
  locked = (await encryptImage(plain, [{ key: ownKey.publicKey }])).image;
  await node.registry.push("owner/app", locked, ["1"]);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** Pulls the owner's image, and lets `attack` try to get its layer. */
async function withLayerHere(attack: () => Promise<void>): Promise<void> {
  writeKey(keyFile, ownKey.privateKey);
  try {
    await pull(daemon, name);
    await attack();
  } finally {
    rmSync(keyFile, { force: true });
    await removeAllImages(daemon);
  }
}

/** Neither on an empty node nor on one with the layer. */
async function refused(tag: string, described: DescribedLayer, text: RegExp): Promise<void> {
  await node.registry.push("owner/app", withLayers(plain, [described]), [tag]);
  const image = `images.test/owner/app:${tag}`;
  writeKey(keyFile, ownKey.privateKey);
  await assert.rejects(pull(daemon, image), failsWith(dataLoss, text));
  await withLayerHere(async () => {
    await assert.rejects(pull(daemon, image), failsWith(dataLoss, text));
    assert.equal(await imageStatus(daemon, image), undefined);
  });
}

function lockedLayer(): TestImage["layers"][number] {
  return locked.layers[0] ?? assert.fail("no layer");
}

describe("a decrypted layer that is here", () => {
  test("is not given to an image that calls the encrypted blob a plain layer", async () => {
    const mediaType = "application/vnd.oci.image.layer.v1.tar";
    const layer = { ...lockedLayer(), mediaType };
    // As for any blob that is not an archive.
    const text = /is it a tar|is not the layer that the image names/;
    await node.registry.push("owner/app", withLayers(plain, [{ layer, annotations: {} }]), [
      "bare",
    ]);
    const image = "images.test/owner/app:bare";
    await withLayerHere(async () => {
      await assert.rejects(pull(daemon, image), failsWith(code.invalidArgument, text));
      assert.equal(await imageStatus(daemon, image), undefined);
    });
  });

  test("is not given to an image that has a key of the attacker for the blob", async () => {
    const layer = lockedLayer();
    // Everybody may have the public key of the node.
    const recipients = [{ key: ownKey.publicKey }];
    const forged = { key: randomBytes(32), nonce: randomBytes(16), mac: randomBytes(32) };
    const annotations = await annotationsOf(layer.bytes, recipients, forged);
    await refused("forged", { layer, annotations }, /does not have the HMAC/);
  });

  test("is not given to a pull after the node's key was removed", async () => {
    await withLayerHere(async () => {
      rmSync(keyFile);
      const text = /there is no private key in/;
      await assert.rejects(pull(daemon, name), failsWith(code.failedPrecondition, text));
    });
  });
});
