import assert from "node:assert/strict";
import { createCipheriv, createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { hexOf } from "../../base/digest.ts";
import type { LayerCipher } from "../../core/image/index.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { never, OverlayFixture } from "./testing/fixture.ts";
import { digestOf, erofsObstacle, sourceOf, TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();
const body = randomBytes(3_000_000);
const tar = buildTar([{ name: "secret", data: body }]);
const blob = gzipSync(tar);
const skip = await erofsObstacle();

/** An encrypted layer, and what decrypts it. */
function encrypted(plain: Buffer): LayerSource & { readonly cipher: LayerCipher } {
  const [key, nonce] = [randomBytes(32), randomBytes(16)];
  const bytes = createCipheriv("aes-256-ctr", key, nonce).update(plain);
  const mac = createHmac("sha256", key).update(bytes).digest();
  return { ...sourceOf(tar, bytes), cipher: { key, nonce, mac, id: key.toString("hex") } };
}

const originOf = ({ registry, blob: { digest, sizeBytes } }: LayerSource) => ({
  registry,
  digest,
  sizeBytes,
});

describe("an encrypted layer", () => {
  test("is decrypted, whatever its compression is", async () => {
    for (const plain of [blob, zstdCompressSync(tar), tar]) {
      const source = encrypted(plain);
      await fixture.layers.unpack(source, never);
      const path = join(fixture.filesOf(source.diffId), "secret");
      assert.deepEqual(readFileSync(path), body);
      await fixture.layers.remove(source.diffId);
    }
  });

  test("is decrypted into an EROFS image", { skip }, async () => {
    const root = join(fixture.directory, "erofs");
    await using overlay = await TestOverlay.open(root, { format: "erofs" });
    const source = encrypted(blob);
    await overlay.layers.unpack(source, never);
    assert.deepEqual(readFileSync(join(await overlay.filesOf(source.diffId), "secret")), body);
  });

  test("is known by its blob only together with its cipher, also by the next daemon", async () => {
    const source = encrypted(blob);
    await fixture.layers.unpack(source, never);
    const [plain, other] = [originOf(source), { ...originOf(source), cipher: "other" }];
    const right = { ...originOf(source), cipher: source.cipher.id };
    await using next = await TestOverlay.open(fixture.root);
    for (const layers of [fixture.layers, next.layers]) {
      assert.ok(layers.hasFrom(source.diffId, right));
      assert.ok(!layers.hasFrom(source.diffId, plain) && !layers.hasFrom(source.diffId, other));
    }
    const facts = join(fixture.root, "layers", hexOf(source.diffId), "layer.json");
    const text = readFileSync(facts, "utf8");
    // An older davit reads this, and must find no digest that it knows.
    const { origins } = JSON.parse(text) as { origins: readonly object[] };
    assert.deepEqual(
      origins.map((each) => "digest" in each),
      [false],
    );
    await fixture.layers.unpack(sourceOf(tar, blob), never);
    assert.ok(fixture.layers.hasFrom(source.diffId, originOf(sourceOf(tar, blob))));
    assert.ok(fixture.layers.hasFrom(source.diffId, right));
  });

  test("with another key, nonce or HMAC is refused, and nothing is left of it", async () => {
    const wrong = (change: Partial<LayerCipher>): LayerSource => {
      const source = encrypted(blob);
      return { ...source, cipher: { ...source.cipher, ...change } };
    };
    const text = /does not have the HMAC that the image names/;
    await fixture.assertRefused(wrong({ mac: randomBytes(32) }), "data-loss", text);
    await fixture.assertRefused(wrong({ key: randomBytes(32) }), "data-loss", text);
    // The HMAC is of the encrypted bytes.
    const nonce = wrong({ nonce: randomBytes(16) });
    await fixture.assertRefused(nonce, "invalid-argument", /is it a tar/);
  });

  test("with other bytes than its digest says is refused as such", async () => {
    const source = encrypted(blob);
    const other = encrypted(blob).chunks;
    await fixture.assertRefused({ ...source, chunks: other }, "data-loss", /digest mismatch/);
    const lie = { ...source.blob, digest: digestOf(Buffer.from("other")) };
    await fixture.assertRefused({ ...encrypted(blob), blob: lie }, "data-loss", /digest mismatch/);
  });

  test("that is another one than the image names is refused", async () => {
    const diffId = digestOf(Buffer.from("other"));
    await fixture.assertRefused(
      { ...encrypted(blob), diffId },
      "data-loss",
      /is not the layer that the image names/,
    );
  });
});
