import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PackedImage } from "../../core/snapshot/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { removeImage } from "./remove.ts";
import { saveImages } from "./save.ts";
import { tagImage } from "./tag.ts";

async function save(engine: FakeEngine, ...words: string[]): Promise<readonly PackedImage[]> {
  const parts: Uint8Array[] = [];
  for await (const part of saveImages(engine.images, words, never)) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString()) as readonly PackedImage[];
}

describe("saveImages()", () => {
  test("packs images with the names that they are given by, each once", async (t) => {
    const engine = new FakeEngine(t);
    const app = await engine.pull("app");
    await engine.pull("other");
    tagImage(engine.images, "app", "app:2");
    const saved = await save(engine, "app:2", "other", "app", app, "app:2");
    assert.deepEqual(
      saved.map(({ names }) => names),
      [
        ["docker.io/library/app:2", "docker.io/library/app:latest"],
        ["docker.io/library/other:latest"],
      ],
    );
    assert.deepEqual(saved[0]?.layers, [digestOf("base"), digestOf("app")]);
    assert.equal(saved[0].configJson, engine.images.store.find("app")?.configJson);
  });

  test("gives an image that is named by its id or digest no name", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.pull("app");
    const [byDigest = ""] = engine.images.store.find("app")?.repoDigests ?? [];
    for (const word of [id, id.slice(7, 19), byDigest]) {
      assert.deepEqual(
        (await save(engine, word)).map(({ names }) => names),
        [[]],
        word,
      );
    }
  });

  test("refuses an unknown image, and none", async (t) => {
    const engine = new FakeEngine(t);
    await engine.pull("app");
    await assert.rejects(save(engine, "app", "nobody"), {
      kind: "not-found",
      message: /save image "nobody"/,
    });
    await assert.rejects(save(engine), { kind: "invalid-argument" });
  });

  test("keeps the layers of an image that is removed meanwhile", async (t) => {
    const engine = new FakeEngine(t);
    await engine.pull("app");
    const hang = engine.world.packer.trouble.hang("pack");
    const saving = save(engine, "app");
    await hang.arrived;
    await removeImage(engine.images, "app");
    assert.ok(engine.world.layers.has(digestOf("app")));
    hang.release();
    await saving;
    assert.deepEqual([...engine.images.pulls.claimedChains()], []);
  });
});
