import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { CheckpointFacts } from "../../core/checkpoint/index.ts";
import { stages } from "../../core/operation/index.ts";
import {
  ContainerConfigSchema,
  CreateContainerRequestSchema,
  RunPodSandboxRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { pullImage, removeImage, sweepLayers } from "../image/index.ts";
import { removeContainer, startContainer } from "../container/index.ts";
import { removePodSandbox } from "../sandbox/index.ts";
import { FakeEngine, type FakeEngineOptions, never } from "../testing/engine.ts";
import { checkpointFacts } from "../testing/fake-checkpoints.ts";
import { settle } from "../testing/manual-time.ts";
import { podRequest } from "../testing/objects.ts";
import { type PodRestore, restorePod, type RestoredPod } from "./index.ts";

const path = "/checkpoints/web";

/** An engine with a checkpoint of a pod of containers "app" and "side", and their image. */
async function setUp(t: TestContext, options: FakeEngineOptions = {}) {
  const engine = new FakeEngine(t, options);
  const image = await engine.pull();
  engine.world.source.publish("changes", { layers: ["changes"] });
  await pullImage(engine.images, { name: "changes", auth: undefined }, never);
  const facts = (given: Partial<CheckpointFacts> = {}): CheckpointFacts =>
    checkpointFacts({ imageDigests: [image], ...given });
  engine.world.checkpoints.pods.set(path, [facts(), facts({ name: "side" })]);
  return { engine, image, facts };
}

function config(name: string, fields: object = {}): PodRestore["containerConfigs"][number] {
  const metadata = { name, attempt: 3 };
  return create(ContainerConfigSchema, { metadata, image: { image: "app" }, ...fields });
}

function requestOf(fields: Partial<PodRestore> = {}, hostname = "new", handler = ""): PodRestore {
  const metadata = { name: "web", namespace: "default", uid: "uid-2", attempt: 0 };
  const sandbox = podRequest({ metadata, hostname }, handler);
  return {
    checkpointPath: path,
    options: {},
    sandbox,
    containerConfigs: [config("side"), config("app")],
    container: (given, podSandboxId) => {
      const request = create(CreateContainerRequestSchema, { podSandboxId, config: given });
      return { request, requestBytes: toBinary(CreateContainerRequestSchema, request) };
    },
    requestBytes: toBinary(RunPodSandboxRequestSchema, sandbox.request),
    ...fields,
  };
}

function restore(engine: FakeEngine, ...given: Parameters<typeof requestOf>): Promise<RestoredPod> {
  return restorePod(engine, requestOf(...given), never);
}

/** Neither a pod nor a container is there, and no copy of a checkpoint. */
function assertNothingIsLeft({ world, sandboxes, containers }: FakeEngine): void {
  assert.deepEqual([...sandboxes.store.all()], []);
  assert.deepEqual([...containers.store.all()], []);
  assert.deepEqual(world.host.things(), []);
  assert.deepEqual([...world.checkpoints.directories], []);
  assert.deepEqual(containers.operations.views(), []);
}

function kind(expected: Parameters<typeof isKind>[1], message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof RuntimeError && isKind(error, expected), String(error));
    assert.match(error.message, message);
    return true;
  };
}

describe("restorePod()", () => {
  test("makes a ready pod of the request, with containers that have run nothing", async (t) => {
    const { engine, image } = await setUp(t);
    const { checkpoints, roots, host } = engine.world;
    const layers = engine.images.store.find("changes")?.layers ?? [];
    checkpoints.changes = layers[0]?.diffId;
    const { sandboxId, containers } = await restore(engine);
    const sandbox = engine.sandboxes.store.resolve(sandboxId);
    assert.equal(sandbox.state.name, "ready");
    assert.equal(sandbox.config.metadata?.uid, "uid-2");
    assert.deepEqual(
      containers.map(({ name }) => name),
      ["side", "app"],
    );
    assert.deepEqual(host.idsOf("process"), []);
    for (const { id, name } of containers) {
      const container = engine.containers.store.resolve(id);
      assert.equal(container.state.name, "created");
      assert.deepEqual([container.image.id, container.config.metadata?.attempt], [image, 3]);
      const directory = `/restores/${sandboxId}/${name}`;
      const { changes } = checkpoints;
      assert.deepEqual(container.restore, { directory, owned: true, closeTcp: true, changes });
      const ofImage = engine.images.store.find("app")?.layers.map(({ diffId }) => diffId) ?? [];
      assert.deepEqual(container.image.layers, [...ofImage, checkpoints.changes]);
      assert.deepEqual(roots.mounted.get(id)?.layers, container.image.layers);
      assert.deepEqual(engine.world.records.containers.rows.get(id), container);
    }
    const [past] = engine.containers.operations.history.of(sandboxId).slice(-1);
    assert.deepEqual([...new Set(past?.stages.map(({ stage }) => stage))], stages["restore-pod"]);
  });

  test("its containers continue when they are started, with the hostname of the request", async (t) => {
    const { engine } = await setUp(t);
    const { runtime, checkpoints } = engine.world;
    const options = { "davit.close-tcp": "false" };
    const { sandboxId, containers } = await restore(engine, { options });
    const [side, app] = containers.map(({ id }) => id);
    assert.ok(side !== undefined && app !== undefined);
    await startContainer(engine.containers, app, never);
    assert.deepEqual(runtime.bundleOf(app)?.restore, {
      images: `/restores/${sandboxId}/app/checkpoint`,
      closeTcp: false,
      hostname: "new",
    });
    // Its images are not needed any more; those of the other container are.
    await engine.world.time.advance(10);
    assert.deepEqual([...checkpoints.directories], [`/restores/${sandboxId}/side`]);
    await removeContainer(engine.containers, side, never);
    assert.deepEqual([...checkpoints.directories], []);
    await removePodSandbox(engine.sandboxes, sandboxId, never);
    assertNothingIsLeft(engine);
  });

  test("a pod without a hostname has the node's", async (t) => {
    const { engine } = await setUp(t);
    const { containers } = await restore(engine, {}, "");
    const [{ id } = { id: "" }] = containers;
    await startContainer(engine.containers, id, never);
    assert.notEqual(engine.world.runtime.bundleOf(id)?.restore?.hostname, "");
  });

  test("refuses requests that do not fit, before anything is made", async (t) => {
    const { engine } = await setUp(t);
    const both = [config("side"), config("app")];
    const rows = [
      [{ checkpointPath: "x" }, "invalid-argument", /"x" is not absolute/],
      [{ checkpointPath: "/none" }, "invalid-argument", /no checkpoint/],
      [{ options: { keep: "1" } }, "invalid-argument", /unknown option "keep"/],
      [{ containerConfigs: [] }, "invalid-argument", /no container configs/],
      [{ containerConfigs: [config("app")] }, "invalid-argument", /no config for "side" of the/],
      [{ containerConfigs: [...both, config("x")] }, "invalid-argument", /does not have "x" of/],
      [{ containerConfigs: [...both, config("app")] }, "invalid-argument", /two container configs/],
      [{ containerConfigs: [config("")] }, "invalid-argument", /has no name/],
      [
        { containerConfigs: [config("side"), config("app", { tty: true })] },
        "failed-precondition",
        /container "app" has no terminal; set tty in the request to false/,
      ],
    ] as const;
    for (const [fields, expected, message] of rows) {
      await assert.rejects(restore(engine, fields), kind(expected, message));
    }
    await assert.rejects(restore(engine, {}, "new", "x"), kind("invalid-argument", /handler "x"/));
    await settle();
    assertNothingIsLeft(engine);
  });

  test("refuses an image that is not the one of the checkpoint", async (t) => {
    const { engine, facts } = await setUp(t);
    const digest = `sha256:${"e".repeat(64)}`;
    const { pods } = engine.world.checkpoints;
    pods.set(path, [facts({ imageDigests: [digest] }), facts({ name: "side" })]);
    const other = kind("failed-precondition", /image "app" of container "app" is not the one/);
    await assert.rejects(restore(engine), other);
    const missing = [config("side", { image: { image: "none" } }), config("app")];
    const absent = kind("not-found", /image "none" of container "side" is not present/);
    pods.set(path, [facts(), facts({ name: "side" })]);
    await assert.rejects(restore(engine, { containerConfigs: missing }), absent);
    await settle();
    assertNothingIsLeft(engine);
  });

  test("finds an image whose tag has moved by the digest in its own checkpoint only", async (t) => {
    const { engine, image, facts } = await setUp(t);
    engine.world.source.publish("app", { layers: ["newer"] });
    const newer = await pullImage(engine.images, { name: "app", auth: undefined }, never);
    assert.notEqual(newer, image);
    const foreign = { config: undefined };
    const { pods } = engine.world.checkpoints;
    pods.set(path, [facts(foreign), facts({ ...foreign, name: "side" })]);
    await assert.rejects(restore(engine), kind("failed-precondition", /is not the one/));
    pods.set(path, [facts(), facts({ name: "side" })]);
    const { containers } = await restore(engine);
    const [{ id } = { id: "" }] = containers;
    assert.equal(engine.containers.store.get(id).image.id, image);
  });

  test("refuses a handler that cannot restore the checkpoint", async (t) => {
    const { engine, facts } = await setUp(t);
    const { pods } = engine.world.checkpoints;
    pods.set(path, [facts({ runtime: "/usr/sbin/runc" }), facts({ name: "side" })]);
    const message = /made by "runc", and handler "crun" has "crun"/;
    await assert.rejects(restore(engine), kind("failed-precondition", message));
    pods.set(path, [facts(), facts({ name: "side" })]);
    engine.world.runtime.obstacles.restore = "its shim cannot";
    await assert.rejects(restore(engine), kind("failed-precondition", /: its shim cannot$/));
    assertNothingIsLeft(engine);
  });

  test("honours checkpoint.restore = off", async (t) => {
    const { engine } = await setUp(t);
    Object.assign(engine.containers.checkpoints, { restore: "off" });
    await assert.rejects(restore(engine), kind("failed-precondition", /set checkpoint.restore to/));
  });

  for (const stage of stages["restore-pod"]) {
    test(`removes everything when it fails at ${stage}`, async (t) => {
      const { engine } = await setUp(t);
      engine.faults.fail(`restore-pod/${stage}`);
      await assert.rejects(restore(engine), kind("internal", new RegExp(`stage ${stage}`)));
      assertNothingIsLeft(engine);
    });
  }

  test("the next daemon removes a pod whose daemon ended before it was finished", async (t) => {
    const { engine } = await setUp(t);
    const { sandboxId } = await restore(engine);
    engine.sandboxes.store.update(sandboxId, (now) => ({ ...now, unfinished: true }));
    const next = await engine.restart();
    await next.recover();
    assert.deepEqual([...next.sandboxes.store.listed()], []);
    assert.deepEqual([...next.containers.store.listed()], []);
    await next.world.time.advance(10_000);
    await settle();
    assert.deepEqual([...next.sandboxes.store.all(), ...next.containers.store.all()], []);
    assert.deepEqual([...next.world.checkpoints.directories], []);
  });

  test("the next daemon lists a pod that was finished", async (t) => {
    const { engine } = await setUp(t);
    const { sandboxId } = await restore(engine);
    const next = await engine.restart();
    await next.recover();
    assert.deepEqual(
      [...next.sandboxes.store.listed()].map(({ id, unfinished }) => [id, unfinished]),
      [[sandboxId, undefined]],
    );
    assert.equal([...next.containers.store.listed()].length, 2);
  });

  for (const point of [
    "run-pod-sandbox/finish-record",
    "create-container/mount-root",
    "create-container/answer",
  ] as const) {
    test(`removes everything when it fails at ${point}`, async (t) => {
      const { engine } = await setUp(t);
      engine.faults.fail(point);
      await assert.rejects(restore(engine), kind("internal", /a? ?fault/));
      assertNothingIsLeft(engine);
    });
  }

  test("removes the layer of the changes when it fails, unless another container has it", async (t) => {
    const { engine } = await setUp(t);
    const { layers, checkpoints } = engine.world;
    const [layer] = engine.images.store.find("changes")?.layers ?? [];
    checkpoints.changes = layer?.diffId;
    assert.ok(checkpoints.changes !== undefined);
    await removeImage(engine.images, "changes");
    assert.ok(!layers.has(checkpoints.changes));
    const unpack = async (): Promise<void> => {
      await pullImage(engine.images, { name: "changes", auth: undefined }, never);
      const made = engine.images.store.find("changes");
      if (made !== undefined) engine.images.store.remove(made.id);
    };
    await unpack();
    engine.faults.fail("restore-pod/answer");
    await assert.rejects(restore(engine), /restore-pod\/answer/);
    assert.ok(!layers.has(checkpoints.changes));
    engine.faults.heal("restore-pod/answer");
    await unpack();
    const { sandboxId } = await restore(engine);
    engine.faults.fail("restore-pod/answer");
    const metadata = { name: "web", namespace: "default", uid: "uid-3", attempt: 0 };
    await assert.rejects(restore(engine, { sandbox: podRequest({ metadata }) }), /answer/);
    assert.ok(layers.has(checkpoints.changes));
    await removePodSandbox(engine.sandboxes, sandboxId, never);
    await settle();
    assert.ok(!layers.has(checkpoints.changes));
  });

  test("keeps the layer of the changes from a sweep before a container has it", async (t) => {
    const { engine } = await setUp(t);
    const { layers, checkpoints } = engine.world;
    const image = engine.images.store.find("changes");
    checkpoints.changes = image?.layers[0]?.diffId;
    assert.ok(image !== undefined && checkpoints.changes !== undefined);
    engine.images.store.remove(image.id);
    const hang = checkpoints.trouble.hang("openPod");
    const call = restore(engine);
    await hang.arrived;
    await sweepLayers(engine.images, "pressure");
    assert.ok(layers.has(checkpoints.changes));
    hang.release();
    await call;
    await sweepLayers(engine.images, "pressure");
    assert.ok(layers.has(checkpoints.changes));
  });

  test("removes the layers that a checkpoint made which could not be opened", async (t) => {
    const { engine } = await setUp(t);
    const { layers, checkpoints } = engine.world;
    const image = engine.images.store.find("changes");
    checkpoints.changes = image?.layers[0]?.diffId;
    assert.ok(image !== undefined && checkpoints.changes !== undefined);
    engine.images.store.remove(image.id);
    checkpoints.trouble.fail("openPod");
    await assert.rejects(restore(engine), /openPod broke/);
    assert.ok(!layers.has(checkpoints.changes));
  });

  test("shows nothing to clients until it is complete", async (t) => {
    const { engine } = await setUp(t);
    const hang = engine.faults.hang("restore-pod/answer");
    const call = restore(engine);
    await hang.arrived;
    assert.deepEqual([...engine.sandboxes.store.listed()], []);
    assert.deepEqual([...engine.containers.store.listed()], []);
    hang.release();
    const { sandboxId } = await call;
    assert.deepEqual(
      [...engine.sandboxes.store.listed()].map(({ id }) => id),
      [sandboxId],
    );
  });

  test("an equal request joins it, a different one is refused", async (t) => {
    const { engine } = await setUp(t);
    const hang = engine.faults.hang("restore-pod/run-sandbox");
    const caller = new AbortController();
    const first = restorePod(engine, requestOf(), caller.signal);
    const left = assert.rejects(first, /gone/);
    await hang.arrived;
    caller.abort(new RuntimeError("canceled", "gone"));
    await left;
    const again = restore(engine);
    const other = restore(engine, {}, "other");
    await assert.rejects(
      other,
      kind("failed-precondition", /a different request has been creating it/),
    );
    hang.release();
    const { containers } = await again;
    assert.equal(containers.length, 2);
    assert.equal([...engine.sandboxes.store.all()].length, 1);
  });

  test("is removed when nobody claims it", async (t) => {
    const { engine } = await setUp(t);
    const hang = engine.faults.hang("restore-pod/run-sandbox");
    const caller = new AbortController();
    const left = assert.rejects(restorePod(engine, requestOf(), caller.signal), /gone/);
    await hang.arrived;
    caller.abort(new RuntimeError("canceled", "gone"));
    await left;
    hang.release();
    await settle();
    assert.equal([...engine.sandboxes.store.all()].length, 1);
    await engine.world.time.advance(130_000);
    assertNothingIsLeft(engine);
  });

  test("refuses a pod that is there already", async (t) => {
    const { engine } = await setUp(t);
    await restore(engine);
    await assert.rejects(restore(engine), kind("already-exists", /is this attempt of the pod/));
  });
});
