import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { digestOf } from "../testing/fake-layers.ts";
import { settle } from "../testing/manual-time.ts";
import { pullImage } from "./pull.ts";

function pull(engine: FakeEngine, name = "app", password?: string, caller = never) {
  return pullImage(engine.images, { name, auth: authOf(password) }, caller);
}

function authOf(password: string | undefined): RegistryAuth | undefined {
  if (password === undefined) return undefined;
  const rest = { auth: "", serverAddress: "", identityToken: "", registryToken: "" };
  return { username: "me", password, ...rest };
}

describe("pullImage(), concurrently with other pulls,", () => {
  test("runs equal pulls once", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    source.publish("app", { layers: ["base"] });
    const hang = source.trouble.hang("blob");
    const pulls = [pull(engine), pull(engine, "docker.io/library/app:latest")];
    await hang.arrived;
    assert.equal(
      engine.images.operations.views().filter((v) => v.operation === "pull-image").length,
      1,
    );
    hang.release();
    const [first, second] = await Promise.all(pulls);
    assert.equal(first, second);
    assert.deepEqual([...source.opened.values()], [1]);
  });

  test("knows the pods that it is for, of each caller", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    source.publish("app", { layers: ["base"] });
    const hang = source.trouble.hang("blob");
    const podOf = (uid: string) => ({ namespace: "prod", name: `web-${uid}`, uid });
    const pullFor = (pod?: ReturnType<typeof podOf>) =>
      pullImage(engine.images, { name: "app", auth: undefined, pod }, never);
    const all = [pullFor(podOf("1")), pullFor(), pullFor(podOf("2")), pullFor(podOf("1"))];
    await hang.arrived;
    const running = engine.images.operations.views().find((v) => v.operation === "pull-image");
    assert.deepEqual(running?.pods, [podOf("1"), podOf("2")]);
    for (let uid = 3; uid < 30; uid++) all.push(pullFor(podOf(String(uid))));
    hang.release();
    await Promise.all(all);
    const [past] = engine.images.operations.history
      .pulls()
      .filter((one) => one.operation === "pull-image");
    assert.equal(past?.pods?.length, 16);
  });

  test("continues when one caller disconnects, and ends with the last one", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    source.publish("app", { layers: ["base"] });
    const hang = source.trouble.hang("blob");
    const callers = [new AbortController(), new AbortController()] as const;
    const [first, second] = [
      assert.rejects(pull(engine, "app", undefined, callers[0].signal), /first left/),
      assert.rejects(pull(engine, "app", undefined, callers[1].signal), /second left/),
    ];
    await hang.arrived;
    callers[0].abort(new Error("first left"));
    await first;
    assert.equal(source.open, 1);
    callers[1].abort(new Error("second left"));
    await second;
    await settle();
    assert.deepEqual([source.open, engine.images.operations.views()], [0, []]);
  });

  test("waits for one download of a layer that two images share", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base", "app"] });
    source.publish("second", { layers: ["base", "other"] });
    const hang = layers.trouble.hang("unpack");
    const pulls = [pull(engine), pull(engine, "second")];
    await hang.arrived;
    await settle();
    hang.release();
    await Promise.all(pulls);
    assert.equal(layers.unpacked.get(digestOf("base")), 1);
  });

  test("gets nothing through the credentials of another pull", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base"], password: "secret" });
    await pull(engine, "app", "secret");
    await assert.rejects(pull(engine), { kind: "unauthenticated" });
    // Another image with the same layer, which the registry must serve.
    source.publish("thief", { layers: ["base"] });
    source.grantsBlobs = false;
    await pull(engine, "thief");
    assert.equal(layers.unpacked.get(digestOf("base")), 2);
  });

  test("fetches a layer itself when the pull that it waited for failed", async (t) => {
    const engine = new FakeEngine(t);
    const { source, layers } = engine.world;
    source.publish("app", { layers: ["base"] });
    source.publish("second", { layers: ["base"] });
    const hang = source.trouble.hang("blob");
    const first = assert.rejects(pull(engine), { kind: "permission-denied" });
    const second = pull(engine, "second");
    await hang.arrived;
    await settle();
    layers.trouble.fail("unpack", new RuntimeError("permission-denied", "not you"), 1);
    hang.release();
    await first;
    await second;
    assert.equal(engine.images.store.find("app"), undefined);
    assert.ok(engine.images.store.find("second") !== undefined);
  });
});
