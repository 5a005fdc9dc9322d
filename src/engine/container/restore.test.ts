import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { isKind, RuntimeError } from "../../base/errors.ts";
import { pullImage, removeImage, saveImages } from "../image/index.ts";
import { removePodSandbox } from "../sandbox/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { checkpointFacts } from "../testing/fake-checkpoints.ts";
import { containerRequest } from "../testing/objects.ts";
import { createContainer, removeContainer, startContainer } from "./index.ts";

const archive = "/checkpoints/app.tar";
const image = { image: archive };

async function setUp(t: TestContext) {
  const engine = new FakeEngine(t);
  const imageId = await engine.pull();
  const pod = await engine.run({ hostname: "new", logDirectory: "/logs" });
  const { archives } = engine.world.checkpoints;
  archives.set(archive, checkpointFacts({ imageDigests: [`docker.io/x@${imageId}`] }));
  const restore = (config = {}): Promise<string> =>
    createContainer(engine.containers, containerRequest(pod, { image, ...config }), never);
  return { engine, pod, imageId, archives, restore };
}

function kind(expected: Parameters<typeof isKind>[1], message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof RuntimeError && isKind(error, expected), String(error));
    assert.match(error.message, message);
    return true;
  };
}

function assertNothingIsLeft({ world, containers }: FakeEngine): void {
  assert.deepEqual([...containers.store.all()], []);
  assert.deepEqual([...world.checkpoints.directories], []);
  assert.deepEqual(world.host.idsOf("root"), []);
}

describe("a container whose image has a checkpoint in it", () => {
  async function withImage(t: TestContext, layers: readonly string[] = ["checkpoint"]) {
    const set = await setUp(t);
    const { engine, archives, imageId } = set;
    const published = engine.world.source.publish("saved", { layers, checkpointOf: "app" });
    const request = { name: "saved", auth: undefined };
    const saved = await pullImage(engine.images, request, never);
    assert.equal(saved, published.resolved.manifest.digest);
    archives.set("saved", checkpointFacts({ imageDigests: [imageId] }));
    const restoreSaved = () => set.restore({ image: { image: "saved" } });
    return { ...set, saved, restoreSaved };
  }

  test("continues from it, on the image of the checkpoint", async (t) => {
    const { engine, imageId, restoreSaved, saved } = await withImage(t);
    const id = await restoreSaved();
    const { image, restore } = engine.containers.store.get(id);
    assert.deepEqual([image.id, image.requested], [imageId, "saved"]);
    assert.equal(restore?.directory, `/restores/${id}`);
    // The checkpoint was copied.
    await removeImage(engine.images, saved);
    await startContainer(engine.containers, id, never);
  });

  test("needs the setting, one layer, and its image", async (t) => {
    const { engine, archives, restoreSaved, imageId } = await withImage(t);
    engine.world.packer.trouble.fail("archive", new RuntimeError("data-loss", "broken layer"), 1);
    await assert.rejects(restoreSaved(), kind("data-loss", /broken layer/));
    archives.set("saved", checkpointFacts({ imageName: "gone" }));
    await assert.rejects(restoreSaved(), kind("not-found", /image "gone" is not present/));
    // No container can run on the image of a checkpoint.
    archives.set(
      "saved",
      checkpointFacts({ imageDigests: [engine.images.store.find("saved")?.id ?? ""] }),
    );
    await assert.rejects(restoreSaved(), kind("not-found", /is not present/));
    archives.set("saved", checkpointFacts({ imageDigests: [imageId] }));
    Object.assign(engine.containers.checkpoints, { restoreContainers: false });
    const refused = kind("failed-precondition", /set checkpoint\.restore_containers = true/);
    await assert.rejects(restoreSaved(), refused);
    assertNothingIsLeft(engine);
  });

  test("is refused with several layers", async (t) => {
    const { engine, restoreSaved } = await withImage(t, ["one", "two"]);
    const refused = kind("failed-precondition", /has 2 layers.*checkpointctl build/);
    await assert.rejects(restoreSaved(), refused);
    assertNothingIsLeft(engine);
  });

  test("cannot be saved as an image", async (t) => {
    const { engine } = await withImage(t);
    const bytes = saveImages(engine.images, ["saved"], never);
    await assert.rejects(
      bytes.next(),
      kind("failed-precondition", /is a checkpoint of a container/),
    );
  });
});

describe("a container whose image is a checkpoint", () => {
  test("continues from it, on the image of its digest", async (t) => {
    const { engine, imageId, restore } = await setUp(t);
    const { runtime, checkpoints } = engine.world;
    const id = await restore();
    const container = engine.containers.store.get(id);
    assert.deepEqual([container.image.id, container.image.requested], [imageId, archive]);
    assert.equal(container.image.shown, engine.images.store.find("app")?.repoTags[0]);
    await startContainer(engine.containers, id, never);
    const images = `/restores/${id}/checkpoint`;
    assert.deepEqual(runtime.bundleOf(id)?.restore, { images, closeTcp: true, hostname: "new" });
    await engine.world.time.advance(10);
    assert.deepEqual([...checkpoints.directories], []);
  });

  test("its files are removed with it, and with its pod", async (t) => {
    const { engine, pod, restore } = await setUp(t);
    const { checkpoints } = engine.world;
    const id = await restore();
    assert.equal(checkpoints.directories.size, 1);
    await removeContainer(engine.containers, id, never);
    assertNothingIsLeft(engine);
    await restore();
    await removePodSandbox(engine.sandboxes, pod, never);
    assertNothingIsLeft(engine);
  });

  test("needs the setting checkpoint.restore_containers", async (t) => {
    const { engine, restore } = await setUp(t);
    Object.assign(engine.containers.checkpoints, { restoreContainers: false });
    await assert.rejects(
      restore(),
      kind("failed-precondition", /set checkpoint\.restore_containers = true/),
    );
    Object.assign(engine.containers.checkpoints, { restoreContainers: true, restore: "off" });
    await assert.rejects(
      restore(),
      kind("failed-precondition", /set checkpoint\.restore to "own"/),
    );
    assertNothingIsLeft(engine);
  });

  test("is refused if it does not fit, and nothing is left", async (t) => {
    const { engine, archives, imageId, restore } = await setUp(t);
    await assert.rejects(restore({ tty: true }), kind("failed-precondition", /set tty/));
    archives.set(archive, checkpointFacts({ imageDigests: [imageId], runtime: "runc" }));
    await assert.rejects(restore(), kind("failed-precondition", /made by "runc"/));
    archives.set(archive, checkpointFacts({ imageName: "docker.io/x/gone:1" }));
    await assert.rejects(
      restore(),
      kind("not-found", /image "docker.io\/x\/gone:1" is not present on this node; pull it first/),
    );
    archives.delete(archive);
    await assert.rejects(restore(), kind("invalid-argument", /no checkpoint/));
    assertNothingIsLeft(engine);
  });

  test("its log begins with that of the checkpoint, if it has one", async (t) => {
    const { engine, restore } = await setUp(t);
    const { logs } = engine.world;
    await restore({ metadata: { name: "silent" }, logPath: "" });
    assert.deepEqual([...logs.begun], []);
    logs.dropped = 2;
    const id = await restore({ logPath: "app/0.log" });
    const { logPath } = engine.containers.store.get(id);
    assert.deepEqual([...logs.begun], [[logPath, `/restores/${id}/container.log`]]);
    const text = "left out 2 lines of the log of a checkpoint that are not records of a log";
    assert.deepEqual(engine.logged("warn"), [text]);
  });

  test("is refused if its log cannot be written, and nothing is left", async (t) => {
    const { engine, restore } = await setUp(t);
    engine.world.logs.trouble.fail("begin", new RuntimeError("resource-exhausted", "full"));
    await assert.rejects(restore({ logPath: "app/0.log" }), kind("resource-exhausted", /full/));
    assertNothingIsLeft(engine);
  });

  for (const stage of ["open-checkpoint", "mount-root", "copy-log", "answer"] as const) {
    test(`leaves nothing when its create fails at ${stage}`, async (t) => {
      const { engine, restore } = await setUp(t);
      engine.faults.fail(`create-container/${stage}`);
      const create = restore({ logPath: "0.log" });
      await assert.rejects(create, kind("internal", new RegExp(`stage ${stage}`)));
      assertNothingIsLeft(engine);
    });
  }

  test("gives up before the time of its start is over", async (t) => {
    const { engine, restore } = await setUp(t);
    const hang = engine.world.runtime.trouble.hang("start");
    const id = await restore();
    const { startMs } = engine.containers.times;
    const call = startContainer(engine.containers, id, never);
    const text = new RegExp(`took longer than ${startMs / 1000 - 5} s`);
    const tooLong = assert.rejects(call, kind("deadline-exceeded", text));
    await hang.arrived;
    await engine.world.time.advance(startMs - 4_000);
    await tooLong;
  });

  test("keeps its files when its start fails, until it is removed", async (t) => {
    const { engine, restore } = await setUp(t);
    const { runtime, checkpoints } = engine.world;
    const id = await restore();
    runtime.trouble.fail("start", new RuntimeError("failed-precondition", "no pid 7"));
    await assert.rejects(startContainer(engine.containers, id, never), /no pid 7/);
    await engine.world.time.advance(10);
    assert.equal(checkpoints.directories.size, 1);
    await removeContainer(engine.containers, id, never);
    assertNothingIsLeft(engine);
  });
});
