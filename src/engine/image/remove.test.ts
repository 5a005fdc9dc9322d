import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { forgetIncompleteImages, removeImage } from "./remove.ts";
import { pullImage } from "./pull.ts";

async function pull(engine: FakeEngine, name: string, ...layers: readonly string[]) {
  engine.world.source.publish(name, { layers });
  return pullImage(engine.images, { name, auth: undefined }, never);
}

function has(engine: FakeEngine, contents: string): boolean {
  return engine.world.layers.has(digestOf(contents));
}

describe("removeImage()", () => {
  test("removes the image by any of its names, with all of them, and its layers", async (t) => {
    const engine = new FakeEngine(t);
    const id = await pull(engine, "app:v1", "base");
    await pull(engine, "app:v2", "base");
    const { resolved } = engine.world.source.publish("app:v1", { layers: ["base"] });
    assert.equal(engine.images.store.find("app:v2")?.id, id);
    for (const name of ["app:v1", id, `app@${resolved.digest}`]) {
      await pull(engine, "app:v1", "base");
      await pull(engine, "app:v2", "base");
      await removeImage(engine.images, name);
      assert.deepEqual([...engine.images.store.all()], []);
      assert.equal(engine.images.store.find("app:v2"), undefined);
      assert.ok(!has(engine, "base"));
    }
    assert.equal(engine.world.records.images.rows.size, 0);
  });

  test("succeeds when the image does not exist", async (t) => {
    const engine = new FakeEngine(t);
    await removeImage(engine.images, "none");
    await assert.rejects(removeImage(engine.images, ""), { kind: "invalid-argument" });
  });

  test("keeps layers that another image uses", async (t) => {
    const engine = new FakeEngine(t);
    await pull(engine, "app", "base", "app");
    await pull(engine, "second", "base");
    await removeImage(engine.images, "app");
    assert.deepEqual([has(engine, "base"), has(engine, "app")], [true, false]);
  });

  test("keeps layers that a container uses, until it is removed", async (t) => {
    const engine = new FakeEngine(t);
    await pull(engine, "app", "base");
    const id = await engine.create(await engine.run());
    await removeImage(engine.images, "app");
    assert.ok(has(engine, "base"));
    assert.equal(engine.images.store.find("app"), undefined);
    // The container keeps running without its image.
    assert.equal(engine.containers.store.get(id).image.requested, "app");
  });

  test("removes what layers share in chains that no image or container has", async (t) => {
    const engine = new FakeEngine(t);
    await pull(engine, "app", "base", "app");
    await pull(engine, "other", "base", "other");
    await engine.create(await engine.run());
    await removeImage(engine.images, "other");
    await removeImage(engine.images, "app");
    assert.deepEqual(engine.world.layers.chains, [["base", "app"].map(digestOf)]);
  });

  test("keeps layers that a pull in progress has claimed, also one that begins meanwhile", async (t) => {
    const engine = new FakeEngine(t);
    const { layers } = engine.world;
    await pull(engine, "app", "base", "app", "top");
    const claim = engine.images.pulls.claim([digestOf("base")]);
    const hang = layers.trouble.hang("remove");
    const removal = removeImage(engine.images, "app");
    await hang.arrived;
    const late = engine.images.pulls.claim([digestOf("top")]);
    hang.release();
    await removal;
    assert.deepEqual(
      ["base", "app", "top"].map((contents) => has(engine, contents)),
      [true, false, true],
    );
    for (const each of [claim, late]) each[Symbol.dispose]();
  });

  test("retries layers that cannot be removed now", async (t) => {
    const engine = new FakeEngine(t);
    const { layers, time } = engine.world;
    const id = await pull(engine, "app", "base");
    layers.trouble.fail("remove", undefined, 1);
    const message = /remove image "app" \(stage remove-layer.*remove broke/;
    await assert.rejects(removeImage(engine.images, "app"), message);
    assert.equal(engine.images.store.find("app"), undefined);
    assert.deepEqual(engine.images.janitor.owned(), [`layers of ${id}`]);
    await time.advance(10);
    assert.ok(!has(engine, "base"));
    assert.deepEqual(engine.images.janitor.owned(), []);
  });

  for (const stage of ["delete-record", "remove-layer", "answer"] as const) {
    test(`leaves nothing behind for good when stage ${stage} fails`, async (t) => {
      const engine = new FakeEngine(t);
      await pull(engine, "app", "base");
      engine.faults.fail(`remove-image/${stage}`);
      await assert.rejects(removeImage(engine.images, "app"), new RegExp(`stage ${stage}`));
      engine.faults.heal(`remove-image/${stage}`);
      await removeImage(engine.images, "app");
      await engine.world.time.advance(10);
      assert.ok(!has(engine, "base"));
      assert.equal(engine.images.store.find("app"), undefined);
    });
  }
});

describe("forgetIncompleteImages()", () => {
  test("forgets an image that lacks a layer, and logs it", async (t) => {
    const engine = new FakeEngine(t);
    await pull(engine, "app", "base", "app");
    await pull(engine, "second", "base");
    await engine.world.layers.remove(digestOf("app"));
    forgetIncompleteImages(engine.images);
    assert.equal(engine.images.store.find("app"), undefined);
    assert.ok(engine.images.store.find("second") !== undefined);
    assert.equal(engine.logged("error").length, 1);
  });
});
