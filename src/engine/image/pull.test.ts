import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { PullObserver, RegistryAuth } from "../../core/image/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { settle } from "../testing/manual-time.ts";
import { attributeLayers } from "./present-layers.ts";
import { pullImage } from "./pull.ts";

const noLimits = { layers: 500, unpackedBytes: 0, unpackedRatio: 0, layerEntries: 0 };

function pull(engine: FakeEngine, name = "app", password?: string, caller = never) {
  return pullImage(engine.images, { name, auth: authOf(password) }, caller);
}

function authOf(password: string | undefined): RegistryAuth | undefined {
  if (password === undefined) return undefined;
  const rest = { auth: "", serverAddress: "", identityToken: "", registryToken: "" };
  return { username: "me", password, ...rest };
}

const sum = (values: readonly bigint[]): bigint => values.reduce((all, value) => all + value, 0n);

/** The contents of the layers that are here, of those that the tests use. */
function layersOf(engine: FakeEngine): readonly string[] {
  const all = ["base", "app", "other", "one", "two", "three", "four"];
  return all.filter((contents) => engine.world.layers.has(digestOf(contents)));
}

describe("pullImage()", () => {
  test("returns the id of an image that is recorded with all its layers", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers, records } = engine.world;
    const { resolved, diffIds, id } = source.publish("app:v1", {
      layers: ["base", "app"],
      config: { Cmd: ["run"] },
    });
    assert.equal(await pull(engine, "app:v1"), id);
    const image = engine.images.store.find("app:v1");
    assert.deepEqual(image, records.images.rows.get(id));
    assert.deepEqual(image?.repoTags, ["docker.io/library/app:v1"]);
    assert.deepEqual(image.repoDigests, [`docker.io/library/app@${resolved.digest}`]);
    assert.deepEqual(
      image.layers.map(({ diffId, digest }) => [diffId, digest]),
      diffIds.map((diffId, at) => [diffId, resolved.layers[at]?.digest]),
    );
    const blobs = [resolved.manifest, resolved.config, ...resolved.layers];
    assert.equal(
      image.sizeBytes,
      blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
    );
    assert.deepEqual(image.config.cmd, ["run"]);
    assert.equal(layers.lacking(diffIds), undefined);
    assert.equal(layers.unclaimed().size, 0);
    assert.deepEqual(
      [engine.images.progress.views(), [...engine.images.pulls.claimedChains()].flat()],
      [[], []],
    );
  });

  test("keeps no tag for a name with a digest", async (t) => {
    const engine = new FakeEngine(t);
    const name = `app@${digestOf("anything")}`;
    const { id } = engine.world.source.publish(name, { layers: ["base"] });
    await pull(engine, name);
    const image = [...engine.images.store.all()].find((each) => each.id === id);
    assert.deepEqual(image?.repoTags, []);
  });

  test("fetches a layer once that the image has several times", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    const { resolved } = source.publish("app", { layers: ["base", "app", "base"] });
    await pull(engine);
    assert.deepEqual([...source.opened.values()], [1, 1]);
    assert.equal(engine.images.store.find("app")?.layers.length, resolved.layers.length);
  });

  test("fetches as many layers at once as the configuration says", async (t) => {
    const engine = new FakeEngine(t, { images: { maxDownloads: 2 } });
    const { source } = engine.world;
    source.publish("app", { layers: ["one", "two", "three", "four"] });
    const hang = source.trouble.hang("blob");
    const pulled = pull(engine);
    await hang.arrived;
    await settle();
    assert.equal(source.open, 2);
    hang.release();
    await pulled;
  });

  test("fetches the next layer when one has arrived, before it is complete", async (t) => {
    const engine = new FakeEngine(t, { images: { maxDownloads: 1 } });
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["one", "two", "three"] });
    const hang = layers.trouble.hang("unpack");
    const pulled = pull(engine);
    await hang.arrived;
    await settle();
    assert.equal(source.opened.size, 3);
    hang.release();
    await pulled;
  });

  test("shows itself while it runs, and keeps its layers from being removed", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    const { diffIds } = source.publish("app", { layers: ["base", "app"] });
    const hang = layers.trouble.hang("unpack");
    const pulled = pull(engine);
    await hang.arrived;
    assert.deepEqual([...engine.images.pulls.claimedChains()].flat(), diffIds);
    assert.equal(engine.images.progress.views()[0]?.image, "docker.io/library/app:latest");
    hang.release();
    await pulled;
  });
});

describe("pullImage() of layers that are present", () => {
  test("checks with the registry, and fetches only what is missing", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base", "app"] });
    source.publish("other", { layers: ["base", "other"] });
    await pull(engine);
    await pull(engine, "other");
    await pull(engine, "other");
    assert.deepEqual([...layers.unpacked.values()], [1, 1, 1]);
  });

  test("reports the bytes and the layers that were fetched or reused to its observer", async (t) => {
    const seen: string[] = [];
    let bytes = 0;
    const observer: PullObserver = {
      received: (registry, more) => {
        assert.equal(registry, "docker.io");
        bytes += more;
      },
      layer: (registry, from) => seen.push(`${registry} ${from}`),
    };
    const engine = new FakeEngine(t, { images: { observer } });
    const { source } = engine.world;
    const app = source.publish("app", { layers: ["base", "app"] });
    const other = source.publish("other", { layers: ["base", "other"] });
    const hang = source.trouble.hang("blob");
    const pulls = [pull(engine), pull(engine, "other")];
    await hang.arrived;
    await settle();
    hang.release();
    await Promise.all(pulls);
    // The second pull waited for the first one's download of the shared layer.
    assert.deepEqual(seen.toSorted(), [
      "docker.io fetched",
      "docker.io fetched",
      "docker.io fetched",
      "docker.io reused",
    ]);
    const blobs = [...app.resolved.layers, ...other.resolved.layers.slice(1)];
    assert.equal(BigInt(bytes), sum(blobs.map(({ sizeBytes }) => sizeBytes)));
    await pull(engine);
    assert.deepEqual(seen.slice(4), ["docker.io reused", "docker.io reused"]);
  });

  test("fetches them again from another registry, and if the registry does not grant them", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base"] });
    source.publish("registry.example/app", { layers: ["base"] });
    await pull(engine);
    await pull(engine, "registry.example/app");
    assert.equal(layers.unpacked.get(digestOf("base")), 2);
    source.grantsBlobs = false;
    await pull(engine);
    assert.equal(layers.unpacked.get(digestOf("base")), 3);
  });

  test("uses them without a check on a node with one tenant", async (t) => {
    const engine = new FakeEngine(t, { images: { trustPresentLayers: true } });
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base"] });
    source.publish("registry.example/app", { layers: ["base"] });
    await pull(engine);
    source.trouble.fail("hasBlob");
    await pull(engine, "registry.example/app");
    assert.equal(layers.unpacked.get(digestOf("base")), 1);
  });

  test("uses those of an earlier version after their origin was recorded", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base"] });
    await pull(engine);
    layers.forgetOrigin(digestOf("base"));
    attributeLayers(engine.images);
    await pull(engine);
    assert.equal(layers.unpacked.get(digestOf("base")), 1);
  });
});

describe("pullImage() that fails", () => {
  for (const stage of [
    "resolve",
    "fetch-config",
    "fetch-layers",
    "complete-layers",
    "write-record",
  ] as const) {
    test(`at stage ${stage} leaves no image, and the next try works`, async (t) => {
      const engine = new FakeEngine(t);
      engine.world.source.publish("app", { layers: ["base", "app"] });
      engine.faults.fail(`pull-image/${stage}`);
      const message = new RegExp(`pull image "docker.io/library/app:latest" \\(stage ${stage}, `);
      await assert.rejects(pull(engine), { kind: "internal", message });
      assert.deepEqual([...engine.images.store.all()], []);
      assert.deepEqual([...engine.images.pulls.claimedChains()].flat(), []);
      engine.faults.heal(`pull-image/${stage}`);
      await pull(engine);
    });
  }

  for (const stage of ["open-blob", "make-directory", "unpack", "publish"] as const) {
    test(`in a layer, at stage ${stage}, leaves nothing of it`, async (t) => {
      const engine = new FakeEngine(t);
      engine.world.source.publish("app", { layers: ["base"] });
      engine.faults.fail(`pull-layer/${stage}`);
      await assert.rejects(pull(engine), new RegExp(`pull layer "sha256.*stage ${stage}, `));
      assert.deepEqual(layersOf(engine), []);
      assert.deepEqual([engine.world.source.open, engine.images.progress.views()], [0, []]);
      engine.faults.heal(`pull-layer/${stage}`);
      await pull(engine);
    });
  }

  test("rejects an invalid name, and an image that does not exist", async (t) => {
    const engine = new FakeEngine(t);
    await assert.rejects(pull(engine, "UPPER case"), { kind: "invalid-argument" });
    await assert.rejects(pull(engine), { kind: "not-found" });
  });

  test("rejects a config whose layers differ from the manifest's, and an invalid config", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    source.publish("app", { layers: ["base", "app"], diffIds: [digestOf("base")] });
    const message = /its config has 1 layers and its manifest has 2/;
    await assert.rejects(pull(engine), { kind: "data-loss", message });
    source.publish("app", { layers: ["base"], config: { Cmd: "not a list" } });
    await assert.rejects(pull(engine), { kind: "data-loss", message: /config\.Cmd/ });
    assert.deepEqual(layersOf(engine), []);
  });

  test("rejects a layer whose digest differs from the config's", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.source.publish("app", { layers: ["base"], diffIds: [digestOf("other")] });
    await assert.rejects(pull(engine), { kind: "data-loss", message: /its digest is another one/ });
    assert.deepEqual(layersOf(engine), []);
  });

  test("aborts the other layers when one fails, and reports the failure of that one", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["one", "two", "three", "four"] });
    // Two of the first three hang until they are aborted.
    const unpack = layers.unpack.bind(layers);
    layers.trouble.hang("unpack");
    const failSecond: typeof unpack = (layer, ...rest) =>
      layer.diffId === digestOf("two")
        ? Promise.reject(new RuntimeError("unavailable", "no route"))
        : unpack(layer, ...rest);
    t.mock.method(layers, "unpack", failSecond);
    await assert.rejects(pull(engine), { kind: "unavailable", message: /no route/ });
    assert.equal(source.opened.size, 3);
    assert.equal(source.open, 0);
  });

  test("keeps complete layers for the next pull, and removes them without one", async (t) => {
    const engine = new FakeEngine(t);
    const { source, time, layers } = engine.world;
    source.publish("app", { layers: ["base", "app"] });
    engine.faults.fail("pull-image/write-record");
    await assert.rejects(pull(engine));
    await time.advance(500_000);
    assert.deepEqual(layersOf(engine), ["base", "app"]);
    engine.faults.heal("pull-image/write-record");
    await pull(engine);
    assert.deepEqual([...layers.unpacked.values()], [1, 1]);
    await time.advance(700_000);
    assert.deepEqual(layersOf(engine), ["base", "app"]);
    engine.faults.fail("pull-image/write-record");
    source.publish("second", { layers: ["other"] });
    await assert.rejects(pull(engine, "second"));
    await time.advance(602_000);
    assert.deepEqual(layersOf(engine), ["base", "app"]);
  });

  test("leaves no image when the record cannot be written", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.source.publish("app", { layers: ["base"] });
    engine.world.records.full = true;
    await assert.rejects(pull(engine), { kind: "resource-exhausted" });
    assert.equal(engine.images.store.find("app"), undefined);
    assert.equal(engine.world.layers.unclaimed().size, 1);
  });
});

describe("pullImage() of an image that exceeds a limit", () => {
  test("rejects one with too many layers before it fetches any", async (t) => {
    const engine = new FakeEngine(t, { images: { limits: { ...noLimits, layers: 1 } } });
    engine.world.source.publish("app", { layers: ["base", "app"] });
    const message = /images\.max_layers = 1/;
    await assert.rejects(pull(engine), { kind: "failed-precondition", message });
    assert.equal(engine.world.source.opened.size, 0);
  });

  test("removes the new layers of a rejected image at once, and no others", async (t) => {
    const engine = new FakeEngine(t, { images: { limits: { ...noLimits, unpackedBytes: 8 } } });
    const { source, time } = engine.world;
    source.publish("small", { layers: ["base"] });
    await pull(engine, "small");
    source.publish("app", { layers: ["base", "app", "other"] });
    const message = /max_unpacked_bytes = 8/;
    await assert.rejects(pull(engine), { kind: "failed-precondition", message });
    await time.advance(10);
    assert.deepEqual(layersOf(engine), ["base"]);
  });

  test("counts the layers of other pulls", async (t) => {
    const engine = new FakeEngine(t, {
      images: { limits: { ...noLimits, unpackedBytes: 8 }, trustPresentLayers: true },
    });
    const { source } = engine.world;
    source.publish("a", { layers: ["base"] });
    source.publish("b", { layers: ["other"] });
    await pull(engine, "a");
    await pull(engine, "b");
    source.publish("app", { layers: ["base", "other"] });
    const message = /its layers have 9 bytes, more than images\.max_unpacked_bytes = 8/;
    await assert.rejects(pull(engine), { kind: "failed-precondition", message });
    await engine.world.time.advance(10);
    assert.deepEqual(layersOf(engine), ["base", "other"]);
  });
});
