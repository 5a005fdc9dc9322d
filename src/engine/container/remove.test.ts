import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { stages } from "../../core/operation/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { removeImage } from "../image/index.ts";
import { removeContainer, removeContainerById } from "./remove.ts";

const ofVolumes: readonly string[] = ["unmount-images"];
const ownStages = stages["remove-container"].filter((stage) => !ofVolumes.includes(stage));

function assertNothingIsLeft({ world, containers }: FakeEngine): void {
  for (const thing of ["process", "bundle", "root", "volumes"] as const) {
    assert.deepEqual(world.host.idsOf(thing), []);
  }
  assert.equal(world.records.containers.rows.size, 0);
  assert.deepEqual([...containers.store.all()], []);
}

describe("removeContainer()", () => {
  test("kills a running container, then removes its root and frees its name", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const id = await engine.start(pod);
    engine.world.runtime.stubborn.add(id);
    await removeContainer(engine.containers, id.slice(0, 12), never);
    assert.deepEqual(engine.world.host.removed, ["process", "bundle", "root"]);
    assert.deepEqual(engine.world.runtime.signals.get(id), undefined);
    assertNothingIsLeft(engine);
    const past = engine.containers.operations.history.of(id).at(-1);
    assert.deepEqual(
      past?.stages.map(({ stage }) => stage),
      ownStages,
    );
    await engine.create(pod);
  });

  test("removes one that never ran", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    await removeContainer(engine.containers, id, never);
    assertNothingIsLeft(engine);
  });

  test("succeeds when it does not exist, and does the work of two calls once", async (t) => {
    const engine = new FakeEngine(t);
    await removeContainer(engine.containers, "none", never);
    await removeContainerById(engine.containers, "none");
    const id = await engine.start(await engine.run());
    await Promise.all([1, 2].map(() => removeContainer(engine.containers, id, never)));
    assertNothingIsLeft(engine);
    const { length } = engine.containers.operations.history
      .of(id)
      .filter(({ operation }) => operation === "remove-container");
    assert.equal(length, 1);
  });

  for (const stage of ownStages) {
    test(`can be retried when stage ${stage} failed`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.start(await engine.run());
      engine.faults.fail(`remove-container/${stage}`);
      const removal = removeContainer(engine.containers, id, never);
      await assert.rejects(removal, new RegExp(`stage ${stage}.*fault at`));
      assert.equal(engine.containers.failedTeardowns.all()[0]?.subject, id);
      engine.faults.heal(`remove-container/${stage}`);
      await removeContainerById(engine.containers, id);
      assertNothingIsLeft(engine);
    });
  }

  test("keeps the record while runtime or root cannot be removed", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, roots, records } = engine.world;
    const id = await engine.start(await engine.run());
    for (const { trouble } of [runtime, roots]) {
      trouble.fail("remove", undefined, 1);
      await assert.rejects(removeContainer(engine.containers, id, never), /remove broke/);
      assert.ok(records.containers.rows.has(id));
    }
    await removeContainer(engine.containers, id, never);
    assertNothingIsLeft(engine);
  });

  test("does not remove the root of a process that does not exit", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    engine.world.runtime.trouble.fail("killAll", new RuntimeError("deadline-exceeded", "it hangs"));
    await assert.rejects(removeContainer(engine.containers, id, never), { message: /it hangs/ });
    assert.deepEqual(engine.world.host.idsOf("root"), [id]);
  });

  for (const where of ["runtime", "roots"] as const) {
    test(`ends at its own deadline when the ${where} hang in the kernel`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.start(await engine.run());
      const hang = engine.world[where].trouble.hang("remove");
      const removal = removeContainer(engine.containers, id, never);
      const rejected = assert.rejects(removal, { kind: "deadline-exceeded", message: /than 30 s/ });
      await hang.arrived;
      await engine.world.time.advance(30_000);
      await rejected;
    });
  }

  test("stops waiting for an earlier removal when its caller disconnects", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    const hang = engine.world.runtime.trouble.hang("remove");
    const first = removeContainer(engine.containers, id, never);
    await hang.arrived;
    const caller = new AbortController();
    const second = removeContainer(engine.containers, id, caller.signal);
    caller.abort(new Error("the caller left"));
    await assert.rejects(second, /the caller left/);
    hang.release();
    await first;
    assertNothingIsLeft(engine);
  });

  test("removes the layers of an image that was removed before it", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    await removeImage(engine.images, "app");
    assert.equal(engine.world.layers.list().length, 2);
    await removeContainer(engine.containers, id, never);
    await settle();
    assert.deepEqual(engine.world.layers.list(), []);
  });

  test("succeeds on a full disk, and is recorded later", async (t) => {
    const engine = new FakeEngine(t);
    const { records, time } = engine.world;
    const id = await engine.start(await engine.run());
    records.full = true;
    await removeContainer(engine.containers, id, never);
    assert.equal(engine.containers.store.peek(id), undefined);
    records.full = false;
    await time.advance(6_000);
    assertNothingIsLeft(engine);
  });
});
