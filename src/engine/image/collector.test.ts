import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { Digest } from "../../base/digest.ts";
import type { ImageUseRecords } from "../../core/image/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { type CollectorSettings, ImageCollector } from "./collector.ts";
import { imageStatus } from "./list.ts";
import { pullImage } from "./pull.ts";

const hours = 3_600_000;
const off: CollectorSettings = { unusedMs: 0, high: 0, low: 80 };
const byAge = { ...off, unusedMs: 24 * hours };
const byPressure = { ...off, high: 90, low: 80 };

/** Uses in memory, which outlive a collector. */
class FakeUses implements ImageUseRecords {
  saved: ReadonlyMap<Digest, number> = new Map();

  async load(): Promise<ReadonlyMap<Digest, number>> {
    return this.saved;
  }

  async save(uses: ReadonlyMap<Digest, number>): Promise<void> {
    this.saved = new Map(uses);
  }
}

/** An engine with a collector, which notes pulls and questions as in the daemon. */
async function collecting(t: TestContext, settings: CollectorSettings, uses = new FakeUses()) {
  const noted: ((image: Digest) => void)[] = [];
  const onUsed = (image: Digest): void => {
    for (const note of noted) note(image);
  };
  const engine = new FakeEngine(t, { images: { onUsed } });
  const { images, containers } = engine;
  const collector = await ImageCollector.open({
    images,
    containers: containers.store,
    records: uses,
    settings,
  });
  noted.push((image) => {
    collector.used(image);
  });
  t.after(() => collector[Symbol.asyncDispose]());
  const pull = async (name: string, ...layers: readonly string[]): Promise<Digest> => {
    engine.world.source.publish(name, { layers });
    return await pullImage(images, { name, auth: undefined }, never);
  };
  const { time, layers } = engine.world;
  /** Makes the file system this full. */
  const fill = (percent: number, inodes = 50): void => {
    const [freeBytes, freeInodes] = [1000 - percent * 10, 1000 - inodes * 10];
    layers.fileSystem = { totalBytes: 1000, freeBytes, totalInodes: 1000, freeInodes };
  };
  const names = (): string => [...images.store.all()].flatMap(({ repoTags }) => repoTags).join();
  return { engine, collector, pull, time, fill, names, uses };
}

const shown = (name: string): string => `docker.io/library/${name}:latest`;

describe("the collector, by age", () => {
  test("removes images that were not used for long enough, with their layers", async (t) => {
    const { engine, pull, time, names } = await collecting(t, byAge);
    await pull("old", "base", "old");
    await time.advance(12 * hours);
    await pull("new", "base", "new");
    await time.advance(12 * hours + 60_000);
    assert.equal(names(), shown("new"));
    assert.equal(engine.world.layers.list().length, 2);
    const [removed] = engine.log.filter(({ message }) => message === "removed an unused image");
    assert.equal(removed?.fields["reason"], "age");
    assert.equal(removed.fields["bytes"], "old".length);
    assert.ok(Number(removed.fields["unusedSeconds"]) >= 24 * 3600);
    const count = engine.images.collected.counts().find((each) => each.removed > 0);
    assert.deepEqual(count, { kind: "image", reason: "age", removed: 1, bytes: 3 });
  });

  test("an image that a container has is used until the container is removed", async (t) => {
    const { engine, pull, time, names } = await collecting(t, byAge);
    await pull("app", "base");
    const pod = await engine.run();
    await engine.create(pod);
    await time.advance(72 * hours);
    assert.equal(names(), shown("app"));
    await engine.sandboxes.containers.removeAll(pod);
    await time.advance(23 * hours);
    assert.equal(names(), shown("app"));
    await time.advance(2 * hours);
    assert.equal(names(), "");
  });

  test("a question for the image, or another pull of it, is a use", async (t) => {
    const { engine, pull, time, names } = await collecting(t, byAge);
    await pull("asked", "a");
    await pull("pulled", "b");
    await pull("neither", "c");
    await time.advance(20 * hours);
    imageStatus(engine.images, "asked");
    await pull("pulled", "b");
    await time.advance(20 * hours);
    assert.equal(names(), [shown("asked"), shown("pulled")].join());
  });

  test("the time of the last use survives a restart; an unknown one is now", async (t) => {
    const uses = new FakeUses();
    const { engine, pull, time, collector } = await collecting(t, byAge, uses);
    const known = await pull("known", "a");
    await time.advance(20 * hours);
    await pull("unknown", "b");
    await collector[Symbol.asyncDispose]();
    uses.saved = new Map([...uses.saved].filter(([id]) => id === known));
    await using next = await ImageCollector.open({
      images: engine.images,
      containers: engine.containers.store,
      records: uses,
      settings: byAge,
    });
    await time.advance(5 * hours);
    assert.equal(engine.images.store.find("known"), undefined);
    assert.ok(engine.images.store.find("unknown"));
    assert.equal(next.view()["unusedImages"], 1);
  });

  test("removes 5 images in a minute at most", async (t) => {
    const { engine, pull, time } = await collecting(t, byAge);
    for (let at = 0; at < 7; at++) await pull(`app${at}`, `layer ${at}`);
    await time.advance(24 * hours - 60_000);
    const count = (): number => [...engine.images.store.all()].length;
    assert.equal(count(), 7);
    await time.advance(90_000);
    assert.equal(count(), 2);
    await time.advance(60_000);
    assert.equal(count(), 0);
  });
});

describe("the collector, under pressure", () => {
  test("removes the longest unused images until the low mark, by what they free", async (t) => {
    const { pull, time, fill, names } = await collecting(t, byPressure);
    await pull("first", "x".repeat(60));
    await time.advance(1_000);
    await pull("second", "y".repeat(60));
    await time.advance(1_000);
    await pull("third", "z".repeat(60));
    await time.advance(300_000);
    assert.equal(names(), ["first", "second", "third"].map(shown).join());
    fill(91);
    await time.advance(60_000);
    assert.equal(names(), shown("third"));
  });

  test("counts inodes as well, and never removes a pinned image", async (t) => {
    const { engine, pull, time, fill, names } = await collecting(t, byPressure);
    await pull("plain", "a");
    const pinned = await pull("pinned", "b");
    const image = engine.images.store.find(pinned);
    assert.ok(image !== undefined);
    t.mock.method(engine.images.store, "all", () =>
      [...engine.world.records.images.rows.values()]
        .map((each) => ({ ...each, pinned: each.id === pinned }))
        .values(),
    );
    fill(10, 95);
    await time.advance(300_000);
    assert.equal(names(), shown("pinned"));
  });

  test("removes the layers of unfinished pulls first, and none of a pull in progress", async (t) => {
    const { engine, pull, time, fill } = await collecting(t, byPressure);
    engine.world.layers.trouble.fail("complete", undefined, 1);
    await assert.rejects(pull("failed", "q".repeat(200)));
    await pull("app", "base");
    const claimed = engine.world.layers.list()[1];
    assert.ok(claimed !== undefined);
    await time.advance(180_000);
    assert.equal(engine.world.layers.list().length, 2);
    fill(95);
    await time.advance(60_000);
    assert.deepEqual(engine.world.layers.list(), [claimed]);
    assert.ok(engine.images.store.find("app"));
    assert.deepEqual(
      engine.images.collected.counts().filter(({ removed }) => removed > 0),
      [{ kind: "layer", reason: "pressure", removed: 1, bytes: 200 }],
    );
  });

  test("spares an image that was used in the last 2 minutes or is being pulled", async (t) => {
    const { engine, pull, time, fill, names } = await collecting(t, byPressure);
    const id = await pull("app", "base");
    fill(99);
    await time.advance(90_000);
    assert.equal(names(), shown("app"));
    const layers = engine.images.store.find(id)?.layers.map(({ diffId }) => diffId) ?? [];
    const claim = engine.images.pulls.claim(layers);
    await time.advance(300_000);
    assert.equal(names(), shown("app"));
    claim[Symbol.dispose]();
    await time.advance(60_000);
    assert.equal(names(), "");
  });

  test("spares the images of a pod whose other images are still being pulled", async (t) => {
    const { engine, pull, time, fill, names } = await collecting(t, byPressure);
    await pull("volume", "data");
    fill(99);
    await time.advance(60_000);
    const hang = engine.world.source.trouble.hang("blob");
    const slow = pull("program", "base");
    await hang.arrived;
    await time.advance(20 * 60_000);
    assert.equal(names(), shown("volume"));
    hang.release();
    await slow;
    // The next one: now the volume was used before it began.
    const last = engine.world.source.trouble.hang("blob");
    const next = pull("sidecar", "other");
    await last.arrived;
    await time.advance(9 * 60_000);
    assert.equal(names(), shown("program"));
    last.release();
    await next;
    await time.advance(180_000);
    assert.equal(names(), "");
  });

  test("a create is a use of the image and of its image volumes", async (t) => {
    const { engine, pull, time, fill, names } = await collecting(t, byPressure);
    await pull("app", "base");
    await pull("volume", "data");
    const pod = await engine.run();
    await time.advance(10 * 60_000);
    // Its record is not written yet.
    const writing = engine.faults.hang("create-container/write-record");
    const image = { image: "volume" };
    const creating = engine.create(pod, { mounts: [{ containerPath: "/data", image }] });
    await writing.arrived;
    fill(99);
    await time.advance(60_000);
    assert.equal(names(), ["app", "volume"].map(shown).join());
    writing.release();
    await creating;
  });

  test("waits while removed files are being deleted", async (t) => {
    const { engine, pull, time, fill, names } = await collecting(t, byPressure);
    await pull("app", "base");
    fill(99);
    engine.world.layers.isDeleting = true;
    await time.advance(300_000);
    assert.equal(names(), shown("app"));
    engine.world.layers.isDeleting = false;
    await time.advance(60_000);
    assert.equal(names(), "");
  });

  test("warns once when nothing is left to remove", async (t) => {
    const { engine, time, fill } = await collecting(t, byPressure);
    fill(99);
    await time.advance(300_000);
    assert.deepEqual(engine.logged("warn"), [
      "the file system of the layers is too full, and all images are pinned or in use: free space or enlarge it",
    ]);
  });
});

test("a failure is logged, and the next pass tries again", async (t) => {
  const { engine, pull, time, fill, names } = await collecting(t, byPressure);
  await pull("app", "base");
  fill(99);
  engine.world.layers.trouble.fail("space", undefined, 1);
  await time.advance(130_000);
  assert.match(engine.logged("warn").join(), /failed to collect unused images; will retry/);
  await time.advance(120_000);
  assert.equal(names(), "");
});
