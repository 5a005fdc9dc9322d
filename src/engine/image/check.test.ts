import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { checkImages, type CheckRequest } from "./check.ts";
import { loadImages } from "./load.ts";
import { pullImage } from "./pull.ts";

async function check(
  engine: FakeEngine,
  request: Partial<CheckRequest> = {},
): Promise<readonly string[]> {
  const lines: string[] = [];
  const whole = { images: [], deep: false, repair: false, ...request };
  for await (const event of checkImages(engine.images, whole, never)) {
    const name = event.image.repoTags[0]?.split("/").at(-1) ?? "";
    lines.push(
      event.kind === "problem"
        ? `${name} ${event.layer === digestOf("app") ? "app" : "base"}: ${event.problem}`
        : `${name} ${event.result}${event.message === "" ? "" : `: ${event.message}`}`,
    );
  }
  return lines;
}

describe("checkImages()", () => {
  test("finds images with broken and missing layers", async (t) => {
    const engine = new FakeEngine(t);
    await engine.pull("app");
    await engine.pull("other");
    assert.deepEqual(await check(engine, { deep: true }), [
      "app:latest whole",
      "other:latest whole",
    ]);
    assert.equal(engine.world.checker.wasDeep, true);
    engine.world.checker.broken.set(digestOf("app"), "it is short");
    assert.deepEqual(await check(engine), [
      "app:latest app: it is short",
      "app:latest broken",
      "other:latest whole",
    ]);
    assert.deepEqual(await check(engine, { images: ["other"] }), ["other:latest whole"]);
    await engine.world.layers.remove(digestOf("base"));
    assert.deepEqual((await check(engine, { images: ["other"] })).slice(0, 1), [
      "other:latest base: missing",
    ]);
    assert.deepEqual([...engine.images.pulls.claimedChains()], []);
    await assert.rejects(check(engine, { images: ["nobody"] }), { kind: "not-found" });
  });

  test("pulls a broken layer again, and only that", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.pull("app");
    const { checker, layers } = engine.world;
    checker.broken.set(digestOf("app"), "it is short");
    const lines = await check(engine, { repair: true });
    assert.deepEqual(lines, ["app:latest app: it is short", "app:latest repaired"]);
    assert.deepEqual(
      [layers.unpacked.get(digestOf("base")), layers.unpacked.get(digestOf("app"))],
      [1, 2],
    );
    assert.equal(engine.images.store.find("app")?.id, id);
  });

  test("removes what it cannot repair, and does not take another image for it", async (t) => {
    const engine = new FakeEngine(t);
    const { archives, checker, source, layers } = engine.world;
    archives.images = [{ names: ["app"], layers: ["base", "app"] }];
    async function* bytes(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("archive");
    }
    for await (const _ of loadImages(engine.images, bytes(), {}, never));
    source.publish("app", { layers: ["something else"] });
    checker.broken.set(digestOf("app"), "it is short");
    const lines = await check(engine, { repair: true });
    assert.match(lines[1] ?? "", /^app:latest removed: .*another image by now; pull or load/);
    assert.equal(engine.images.store.find("app"), undefined);
    assert.equal(layers.has(digestOf("something else")), false);
    await engine.world.time.advance(1);
    assert.equal(layers.has(digestOf("base")), false);
  });

  test("repairs an artifact, whose id is the digest of its manifest", async (t) => {
    const engine = new FakeEngine(t);
    const { checker, source } = engine.world;
    source.publish("model:v1", { layers: ["weights"], paths: ["weights.bin"] });
    const id = await pullImage(engine.images, { name: "model:v1", auth: undefined }, never);
    const [layer] = engine.images.store.find(id)?.layers ?? [];
    assert.ok(layer);
    checker.broken.set(layer.diffId, "it is short");
    const lines = await check(engine, { repair: true });
    assert.equal(lines.at(-1), "model:v1 repaired");
  });

  test("does not touch what a container uses", async (t) => {
    const engine = new FakeEngine(t);
    await engine.pull("app");
    await engine.create(await engine.run());
    engine.world.checker.broken.set(digestOf("app"), "it is short");
    const lines = await check(engine, { repair: true });
    assert.match(lines[1] ?? "", /^app:latest broken: a container uses a broken layer/);
    assert.ok(engine.world.layers.has(digestOf("app")));
    assert.notEqual(engine.images.store.find("app"), undefined);
  });
});
