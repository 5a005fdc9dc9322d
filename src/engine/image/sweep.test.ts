import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { pullImage } from "./pull.ts";
import { sweepLayers, sweepUnfinishedLayers } from "./sweep.ts";

async function pull(engine: FakeEngine, name: string, ...layers: readonly string[]) {
  engine.world.source.publish(name, { layers });
  return pullImage(engine.images, { name, auth: undefined }, never);
}

function has(engine: FakeEngine, contents: string): boolean {
  return engine.world.layers.has(digestOf(contents));
}

describe("sweepLayers()", () => {
  test("removes the layers of an interrupted removal, and none that are in use", async (t) => {
    const engine = new FakeEngine(t);
    await pull(engine, "app", "base", "app");
    const lost = await pull(engine, "lost", "base", "lost");
    engine.images.store.remove(lost);
    await sweepLayers(engine.images);
    assert.deepEqual(
      ["base", "app", "lost"].map((each) => has(engine, each)),
      [true, true, false],
    );
  });

  test("keeps the layers of a failed pull for 10 minutes, then removes them", async (t) => {
    const engine = new FakeEngine(t);
    const { time } = engine.world;
    engine.faults.fail("pull-image/write-record");
    await assert.rejects(pull(engine, "app", "base"));
    const next = await engine.restart();
    await time.advance(300_000);
    await sweepLayers(next.images);
    assert.ok(has(next, "base"));
    await time.advance(302_000);
    // The next sweep removes the previous daemon's layers, 10 minutes after the first one.
    assert.ok(has(next, "base"));
    await time.advance(302_000);
    assert.ok(!has(next, "base"));
    assert.deepEqual(next.images.janitor.owned(), []);
  });

  test("claims the layers of an image whose pull was interrupted before it did", async (t) => {
    const engine = new FakeEngine(t);
    const { layers, time } = engine.world;
    const claim = t.mock.method(layers, "claim", async () => undefined);
    await pull(engine, "app", "base");
    claim.mock.restore();
    assert.equal(layers.unclaimed().size, 1);
    await sweepLayers(engine.images);
    assert.equal(layers.unclaimed().size, 0);
    await time.advance(700_000);
    assert.ok(has(engine, "base"));
    assert.deepEqual(engine.images.janitor.owned(), []);
  });

  test("keeps the layers of images and containers whose record was set aside", async (t) => {
    let isUseUnknown = true;
    const engine = new FakeEngine(t, { images: { isUseUnknown: () => isUseUnknown } });
    const { time } = engine.world;
    // Forgotten as after a restart that could not read its record.
    engine.images.store.remove(await pull(engine, "damaged", "damaged"));
    engine.faults.fail("pull-image/write-record");
    await assert.rejects(pull(engine, "app", "base"));
    await time.advance(602_000);
    assert.deepEqual([has(engine, "damaged"), has(engine, "base")], [true, false]);
    isUseUnknown = false;
    await sweepLayers(engine.images);
    assert.ok(!has(engine, "damaged"));
  });

  for (const [used, isKept] of [
    [95, false],
    [60, true],
  ] as const) {
    test(`${isKept ? "keeps" : "removes at once"} the layers of a pull that failed on a disk that is ${used} % full`, async (t) => {
      const engine = new FakeEngine(t);
      const { layers, time } = engine.world;
      layers.fileSystem = { ...layers.fileSystem, freeBytes: 1000 - used * 10 };
      t.mock.method(layers, "complete", async () => {
        throw new RuntimeError("resource-exhausted", "1 MiB must stay free");
      });
      await assert.rejects(pull(engine, "app", "base"));
      await time.advance(1_000);
      assert.equal(has(engine, "base"), isKept);
      const [line] = engine.log.filter(({ message }) => message === "removed an unused layer");
      assert.equal(line?.fields["reason"], isKept ? undefined : "pressure");
    });
  }

  test("logs a layer that it cannot remove, and does not reject", async (t) => {
    const engine = new FakeEngine(t);
    engine.images.store.remove(await pull(engine, "app", "base"));
    engine.world.layers.trouble.fail("remove");
    await sweepLayers(engine.images);
    assert.deepEqual(engine.logged("error"), ["failed to remove unused layers"]);
  });
});

describe("sweepUnfinishedLayers()", () => {
  test("is retried when it fails, as on a full disk", async (t) => {
    const engine = new FakeEngine(t);
    const { layers, time } = engine.world;
    layers.trouble.fail("sweep", undefined, 1);
    await sweepUnfinishedLayers(engine.images);
    assert.deepEqual(engine.images.janitor.owned(), ["remove unfinished layers"]);
    await time.advance(1_000);
    assert.deepEqual(engine.images.janitor.owned(), []);
  });

  test("delays the start of the daemon by 2 s at most when the disk hangs", async (t) => {
    const engine = new FakeEngine(t);
    const { layers, time } = engine.world;
    const hang = layers.trouble.hang("sweep");
    let isOver = false;
    const sweep = sweepUnfinishedLayers(engine.images).then(() => {
      isOver = true;
    });
    await hang.arrived;
    await time.advance(1_900);
    assert.equal(isOver, false);
    await time.advance(200);
    await sweep;
    hang.release();
  });
});
