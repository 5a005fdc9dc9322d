import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { explainPull } from "./explain.ts";
import { pullImage } from "./pull.ts";

const explain = (engine: FakeEngine, name: string, auth?: RegistryAuth, signal = never) =>
  explainPull(engine.images, { name, auth }, signal);

describe("explainPull()", () => {
  test("names hosts, image and layers, and fetches nothing", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    const { resolved, diffIds, id } = source.publish("app", { layers: ["base", "app"] });
    const explained = await explain(engine, "app");
    assert.equal(explained.name, "docker.io/library/app:latest");
    assert.deepEqual(
      explained.hosts.map(({ name, repository }) => [name, repository]),
      [["docker.io", "library/app"]],
    );
    assert.deepEqual(explained.image, resolved);
    assert.equal(explained.presentId, undefined);
    assert.deepEqual(
      explained.layers.map(({ diffId, decision }) => [diffId, decision]),
      diffIds.map((diffId) => [diffId, "missing"]),
    );
    const bytes = resolved.layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n);
    assert.equal(explained.fetchBytes, bytes);
    assert.ok(explained.estimatedDiskBytes >= bytes);
    assert.equal(explained.error, undefined);
    assert.equal(source.opened.size, 0);
    assert.equal(engine.images.store.find(id), undefined);
    assert.deepEqual(engine.world.layers.list(), []);
  });

  test("says of each layer that is here whether a pull may use it", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    source.publish("x.test/old", { layers: ["base"] });
    await pullImage(engine.images, { name: "x.test/old", auth: undefined }, never);
    const decisions = async (name: string): Promise<unknown> => {
      const { layers, fetchBytes } = await explain(engine, name);
      return [...layers.map(({ decision }) => decision), fetchBytes > 0n];
    };
    source.publish("x.test/app", { layers: ["base", "app"] });
    source.publish("y.test/app", { layers: ["base"] });
    assert.deepEqual(await decisions("x.test/app"), ["granted", "missing", true]);
    assert.deepEqual(await decisions("x.test/old"), ["granted", false]);
    assert.deepEqual(await decisions("y.test/app"), ["other-registry", true]);
    source.grantsBlobs = false;
    assert.deepEqual(await decisions("x.test/old"), ["not-granted", true]);
    const trusting = { ...engine.images, trustPresentLayers: true };
    const { layers } = await explainPull(trusting, { name: "y.test/app", auth: undefined }, never);
    assert.deepEqual(
      layers.map(({ decision }) => decision),
      ["trusted"],
    );
    assert.ok((await explain(engine, "x.test/old")).presentId !== undefined);
    // What is fetched to verify it is not kept a second time.
    assert.equal((await explain(engine, "y.test/app")).estimatedDiskBytes, 0n);
    assert.ok(!engine.log.some(({ message }) => message.startsWith("fetching a present layer")));
  });

  test("has the reason for which a pull would fail, and what is known before", async (t) => {
    const engine = new FakeEngine(t, {
      images: { limits: { layers: 1, unpackedBytes: 0, unpackedRatio: 0, layerEntries: 0 } },
    });
    const { source } = engine.world;
    source.publish("secret", { layers: ["base"], password: "word" });
    source.publish("many", { layers: ["base", "app"] });
    const secret = await explain(engine, "secret");
    assert.equal(secret.error?.kind, "unauthenticated");
    assert.match(secret.error.message, /log in first/);
    assert.equal(secret.hosts.length, 1);
    assert.equal(secret.image, undefined);
    const many = await explain(engine, "many");
    assert.match(many.error?.message ?? "", /more than images.max_layers = 1/);
    assert.ok(many.image !== undefined);
    assert.deepEqual(many.layers, []);
  });

  test("rejects for a text that is not a name, and when its caller leaves", async (t) => {
    const engine = new FakeEngine(t);
    await assert.rejects(explain(engine, "NOT A NAME"), (e) => isKind(e, "invalid-argument"));
    engine.world.source.publish("app", { layers: ["base"] });
    const left = AbortSignal.abort(new Error("left"));
    await assert.rejects(explain(engine, "app", undefined, left), /left/);
  });
});
