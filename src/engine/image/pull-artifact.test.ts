import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { fileLayerId } from "../../base/file-layer.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { pullImage } from "./pull.ts";
import { removeImage } from "./remove.ts";

const model = { layers: ["weights", "config"], paths: ["weights.bin", "deep/config.json"] };

function pull(engine: FakeEngine, name: string): Promise<string> {
  return pullImage(engine.images, { name, auth: undefined }, never);
}

describe("pullImage() of an artifact", () => {
  test("records its files as layers, and its manifest as id", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers, records } = engine.world;
    const { resolved, diffIds } = source.publish("model:v1", model);
    // Its config is never read.
    source.trouble.fail("config");
    assert.equal(await pull(engine, "model:v1"), resolved.manifest.digest);
    const image = engine.images.store.find("model:v1");
    assert.deepEqual(image, records.images.rows.get(resolved.manifest.digest));
    assert.equal(image?.artifactType, "application/vnd.test.model");
    assert.deepEqual(image.config.entrypoint, []);
    assert.deepEqual(
      image.layers.map(({ diffId, digest }) => [diffId, digest]),
      resolved.layers.map(({ digest }, at) => [fileLayerId(digest, model.paths[at] ?? ""), digest]),
    );
    assert.equal(layers.lacking(diffIds), undefined);
    await removeImage(engine.images, "model:v1");
    assert.deepEqual(layers.list(), []);
  });

  test("shares a file with other artifacts only under the same path", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("model:v1", model);
    source.publish("model:v2", { ...model, layers: ["new weights", "config"] });
    source.publish("other:v1", { ...model, paths: ["a", "b"] });
    for (const name of ["model:v1", "model:v2", "other:v1"]) await pull(engine, name);
    assert.equal(layers.list().length, 5);
  });

  test("does not take the layer of an image for a file", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app:v1", { layers: ["weights"] });
    await pull(engine, "app:v1");
    assert.ok(layers.has(digestOf("weights")));
    source.publish("model:v1", { layers: ["weights"], paths: ["weights.bin"] });
    await pull(engine, "model:v1");
    assert.equal(layers.list().length, 2);
  });
});

test("a name with tag and digest is known by its digest only", async (t) => {
  const engine = new FakeEngine(t);
  const { source } = engine.world;
  const { resolved, id } = source.publish("app:v1", { layers: ["base"] });
  const name = `app:v1@${resolved.digest}`;
  source.publish(`app@${resolved.digest}`, { layers: ["base"] });
  assert.equal(await pull(engine, name), id);
  const image = engine.images.store.find(id);
  assert.deepEqual(image?.repoTags, []);
  assert.equal(image.repoDigests.length, 1);
  assert.equal(engine.images.store.find("app:v1"), undefined);
});
