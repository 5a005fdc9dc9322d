import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { type LoadedImage, loadImages, type LoadOptions } from "./load.ts";
import { tagImage } from "./tag.ts";

async function* bytes(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("archive");
}

async function load(
  engine: FakeEngine,
  options: LoadOptions = {},
  caller = never,
): Promise<readonly LoadedImage[]> {
  const loaded: LoadedImage[] = [];
  for await (const each of loadImages(engine.images, bytes(), options, caller)) loaded.push(each);
  return loaded;
}

const noLimits = { layers: 500, unpackedBytes: 0, unpackedRatio: 0, layerEntries: 0 };

describe("loadImages()", () => {
  test("records the images of an archive with its names, and no digest that is not known", async (t) => {
    const engine = new FakeEngine(t);
    const { archives, layers } = engine.world;
    archives.images = [
      { names: ["app:1", "app:2"], layers: ["base", "app"] },
      { layers: ["base"], digest: digestOf("manifest") },
    ];
    const loaded = await load(engine);
    const names = ["docker.io/library/app:1", "docker.io/library/app:2"];
    assert.deepEqual(
      loaded.map((each) => each.names),
      [names, []],
    );
    const image = engine.images.store.find("app:2");
    assert.deepEqual([image?.id, image?.repoTags], [loaded[0]?.id, names]);
    assert.deepEqual(image?.repoDigests, []);
    assert.deepEqual(engine.images.store.find(loaded[1]?.id ?? "")?.repoDigests, []);
    // The second image uses the layer of the first one, because the archive has its blob.
    assert.deepEqual([...layers.unpacked.values()], [1, 1]);
    assert.deepEqual([layers.unclaimed().size, archives.openCount], [0, 0]);
    assert.deepEqual([...engine.images.pulls.claimedChains()], []);
  });

  test("records the digest of an image with a manifest, for each of its repositories", async (t) => {
    const engine = new FakeEngine(t);
    const digest = digestOf("manifest");
    engine.world.archives.images = [
      { names: ["app:1", "images.test/app:1"], layers: ["a"], digest },
    ];
    await load(engine);
    const image = engine.images.store.find(`app@${digest}`);
    assert.deepEqual(image?.repoDigests, [
      `docker.io/library/app@${digest}`,
      `images.test/app@${digest}`,
    ]);
  });

  test("gives the only image another name, and refuses one for several", async (t) => {
    const engine = new FakeEngine(t);
    const { archives } = engine.world;
    archives.images = [{ names: ["app:1"], layers: ["a"] }];
    await load(engine, { name: "mine" });
    assert.equal(engine.images.store.find("app:1"), undefined);
    assert.notEqual(engine.images.store.find("mine"), undefined);
    archives.images = [{ layers: ["a"] }, { layers: ["b"] }];
    await assert.rejects(load(engine, { name: "mine:2" }), { kind: "invalid-argument" });
    await assert.rejects(load(engine, { name: `mine@${digestOf("x")}` }), {
      kind: "invalid-argument",
      message: /a name with a digest cannot be given/,
    });
    archives.images = [];
    await assert.rejects(load(engine), { message: /has no images/ });
    assert.equal(archives.openCount, 0);
  });

  test("refuses a root file system without a name", async (t) => {
    const engine = new FakeEngine(t);
    const rootFs = { entrypoint: [], cmd: [], env: [], workingDir: "", user: "" };
    await assert.rejects(load(engine, { rootFs }), { message: /must have a name/ });
    assert.equal(engine.world.archives.received, undefined);
  });

  test("does not let a loaded layer count for a pull", async (t) => {
    const engine = new FakeEngine(t);
    const { archives, layers, source } = engine.world;
    archives.images = [{ names: ["app"], layers: ["secret"] }];
    await load(engine);
    source.publish("theft", { layers: ["other"], diffIds: [digestOf("secret")] });
    const { pullImage } = await import("./pull.ts");
    await assert.rejects(pullImage(engine.images, { name: "theft", auth: undefined }, never), {
      kind: "data-loss",
    });
    // The registry that has the layer serves it, and only then it is one of this registry.
    source.publish("own", { layers: ["secret"] });
    await pullImage(engine.images, { name: "own", auth: undefined }, never);
    assert.equal(layers.unpacked.get(digestOf("secret")), 2);
  });

  test("does not use a pulled layer that the archive does not have", async (t) => {
    const engine = new FakeEngine(t);
    await engine.pull("app");
    engine.world.archives.images = [{ layers: ["x"], diffIds: [digestOf("app")] }];
    await assert.rejects(load(engine), { kind: "data-loss" });
  });

  test("keeps the registry's blobs of an image that was pulled before", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.pull("app");
    const pulled = engine.images.store.find(id);
    engine.world.archives.images = [{ names: ["loaded"], layers: ["base", "app"] }];
    await load(engine);
    const image = engine.images.store.find("loaded");
    assert.deepEqual(
      engine.images.store.find("app")?.layers.map(({ digest }) => digest),
      pulled?.layers.map(({ digest }) => digest),
    );
    assert.notEqual(image, undefined);
  });

  test("checks the limits of images", async (t) => {
    const engine = new FakeEngine(t, { images: { limits: { ...noLimits, unpackedBytes: 5 } } });
    engine.world.archives.images = [{ names: ["big"], layers: ["123", "456"] }];
    await assert.rejects(load(engine), { kind: "failed-precondition" });
    assert.equal(engine.images.store.find("big"), undefined);
  });

  test("refuses an image with too many layers", async (t) => {
    const engine = new FakeEngine(t, { images: { limits: { ...noLimits, layers: 1 } } });
    engine.world.archives.images = [{ names: ["big"], layers: ["123", "456"] }];
    await assert.rejects(load(engine), { message: /more than images.max_layers/ });
  });

  test("has an image only when its layers are on the disk", async (t) => {
    const engine = new FakeEngine(t);
    const { archives, layers } = engine.world;
    archives.images = [{ names: ["app"], layers: ["base"] }];
    layers.trouble.fail("synced", new Error("EIO"), 1);
    await assert.rejects(load(engine), { message: /EIO/ });
    assert.equal(engine.images.store.find("app"), undefined);
    const hang = layers.trouble.hang("synced");
    const loading = load(engine);
    await hang.arrived;
    assert.equal(engine.images.store.find("app"), undefined);
    hang.release();
    await loading;
    assert.ok(engine.images.store.find("app") !== undefined);
  });

  test("answers only when the record is on the disk", async (t) => {
    const engine = new FakeEngine(t);
    const { archives, records } = engine.world;
    archives.images = [{ names: ["app"], layers: ["base"] }];
    records.trouble.fail("synced", new Error("EIO"), 1);
    await assert.rejects(load(engine), { message: /EIO/ });
    const hang = records.trouble.hang("synced");
    let isAnswered = false;
    const loading = load(engine).then(() => {
      isAnswered = true;
    });
    await hang.arrived;
    assert.ok(engine.images.store.find("app") !== undefined);
    assert.equal(isAnswered, false);
    hang.release();
    await loading;
  });

  test("keeps the images before a failure, and can be repeated after one at each stage", async (t) => {
    const engine = new FakeEngine(t);
    const { archives } = engine.world;
    archives.images = [{ names: ["app"], layers: ["base", "app"] }];
    for (const stage of [
      "read-config",
      "unpack-layers",
      "complete-layers",
      "write-record",
    ] as const) {
      engine.faults.fail(`load-image/${stage}`);
      await assert.rejects(load(engine), { message: /fault at/ });
      assert.equal(engine.images.store.find("app"), undefined);
      assert.equal(archives.openCount, 0);
      engine.faults.heal(`load-image/${stage}`);
    }
    archives.images = [
      { names: ["app"], layers: ["base", "app"] },
      { names: ["b"], layers: ["b"] },
    ];
    const iterator = loadImages(engine.images, bytes(), {}, never);
    await iterator.next();
    engine.faults.fail("load-image/unpack-layers");
    await assert.rejects(iterator.next(), { message: /fault at/ });
    assert.notEqual(engine.images.store.find("app"), undefined);
    assert.equal(engine.images.store.find("b"), undefined);
  });

  test("ends with its caller", async (t) => {
    const engine = new FakeEngine(t);
    const { archives } = engine.world;
    archives.images = [{ names: ["app"], layers: ["base"] }];
    const hang = archives.trouble.hang("blob");
    const caller = new AbortController();
    const loading = load(engine, {}, caller.signal);
    await hang.arrived;
    caller.abort(new Error("left"));
    await assert.rejects(loading, { message: /left/ });
    assert.equal(engine.images.store.find("app"), undefined);
    assert.equal(archives.openCount, 0);
  });
});

describe("tagImage()", () => {
  test("adds a name, and moves one of another image", async (t) => {
    const engine = new FakeEngine(t);
    const [app, other] = [await engine.pull("app"), await engine.pull("other")];
    assert.deepEqual(tagImage(engine.images, "app", "other"), {
      id: app,
      name: "docker.io/library/other:latest",
    });
    assert.equal(engine.images.store.find("other")?.id, app);
    assert.deepEqual(engine.images.store.find(other)?.repoTags, []);
    assert.deepEqual(engine.world.records.images.rows.get(app)?.repoTags, [
      "docker.io/library/app:latest",
      "docker.io/library/other:latest",
    ]);
  });

  test("refuses an unknown image and a name with a digest", async (t) => {
    const engine = new FakeEngine(t);
    await engine.pull("app");
    assert.throws(() => tagImage(engine.images, "nobody", "app:2"), { kind: "not-found" });
    const digest = digestOf("x");
    assert.throws(() => tagImage(engine.images, "app", `app@${digest}`), {
      kind: "invalid-argument",
    });
  });
});
