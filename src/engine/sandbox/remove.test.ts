import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { stages } from "../../core/operation/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { containerRequest, podRequest } from "../testing/objects.ts";
import { createContainer } from "../container/index.ts";
import { removePodSandbox, removeSandbox } from "./remove.ts";
import { runPodSandbox } from "./run.ts";
import { stopPodSandbox } from "./stop.ts";

function assertNothingIsLeft(engine: FakeEngine): void {
  const { host, records } = engine.world;
  assert.deepEqual(host.things(), []);
  assert.deepEqual([records.sandboxes.rows.size, records.containers.rows.size], [0, 0]);
  assert.deepEqual([records.attachments.rows.size, records.notes.ids.size], [0, 0]);
  assert.deepEqual([...engine.sandboxes.store.all()], []);
}

describe("removePodSandbox()", () => {
  test("stops the sandbox, removes its containers, and releases everything, including its name", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await engine.start(id);
    await engine.create(id, { metadata: { name: "second", attempt: 0 } });
    await removePodSandbox(engine.sandboxes, id.slice(0, 10), never);
    assertNothingIsLeft(engine);
    const { removed } = engine.world.host;
    assert.ok(removed.indexOf("network") < removed.indexOf("namespaces"));
    assert.ok(removed.lastIndexOf("root") < removed.indexOf("files"));
    assert.equal(removed.at(-1), "cgroup");
    await engine.run();
  });

  test("succeeds when it does not exist", async (t) => {
    const engine = new FakeEngine(t);
    await removePodSandbox(engine.sandboxes, "none", never);
    await removeSandbox(engine.sandboxes, "none", never);
    const id = await engine.run();
    const removals = [1, 2].map(() => removePodSandbox(engine.sandboxes, id, never));
    await Promise.all(removals);
    assertNothingIsLeft(engine);
  });

  test("removes one that is stopped without stopping it again", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await stopPodSandbox(engine.sandboxes, id, never);
    engine.world.controller.trouble.fail("stop");
    await removePodSandbox(engine.sandboxes, id, never);
    assertNothingIsLeft(engine);
  });

  for (const stage of stages["remove-pod-sandbox"]) {
    test(`can be retried when stage ${stage} failed`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.run();
      await engine.start(id);
      engine.faults.fail(`remove-pod-sandbox/${stage}`);
      const removal = removePodSandbox(engine.sandboxes, id, never);
      await assert.rejects(removal, new RegExp(`stage ${stage}.*fault at`));
      assert.equal(engine.sandboxes.failedTeardowns.all()[0]?.subject, id);
      engine.faults.heal(`remove-pod-sandbox/${stage}`);
      await removePodSandbox(engine.sandboxes, id, never);
      assertNothingIsLeft(engine);
    });
  }

  test("keeps the record while a resource of the sandbox cannot be released", async (t) => {
    const engine = new FakeEngine(t);
    const { controller, cgroups, records } = engine.world;
    const id = await engine.run();
    controller.trouble.fail("shutdown", undefined, 1);
    await assert.rejects(removePodSandbox(engine.sandboxes, id, never), /shutdown broke/);
    assert.ok(records.sandboxes.rows.has(id));
    cgroups.trouble.fail("remove", undefined, 1);
    await assert.rejects(removePodSandbox(engine.sandboxes, id, never), /remove broke/);
    assert.ok(records.sandboxes.rows.has(id));
    await removePodSandbox(engine.sandboxes, id, never);
    assertNothingIsLeft(engine);
  });

  test("ends at its own deadline when the controller ignores its signal", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.world.controller.trouble.hang("shutdown", { deaf: true });
    const removal = removePodSandbox(engine.sandboxes, id, never);
    const rejected = assert.rejects(removal, { kind: "deadline-exceeded", message: /shut-down/ });
    await hang.arrived;
    await engine.world.time.advance(110_000);
    await rejected;
  });

  test("stops waiting for the lock when its caller disconnects", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const turn = await engine.sandboxes.locks.acquire(id);
    const caller = new AbortController();
    const removal = removePodSandbox(engine.sandboxes, id, caller.signal);
    caller.abort(new Error("the caller left"));
    await assert.rejects(removal, /the caller left/);
    turn[Symbol.dispose]();
    await removePodSandbox(engine.sandboxes, id, never);
    assertNothingIsLeft(engine);
  });

  test("removes a container that is being created", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await engine.pull();
    const hang = engine.faults.hang("create-container/mount-root");
    const create = createContainer(engine.containers, containerRequest(id), never);
    const aborted = assert.rejects(create, { kind: "aborted", message: /being stopped/ });
    await hang.arrived;
    await removePodSandbox(engine.sandboxes, id, never);
    await aborted;
    assertNothingIsLeft(engine);
  });

  test("frees the name of an unclaimed sandbox", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.faults.hang("run-pod-sandbox/add-network");
    const caller = new AbortController();
    const run = runPodSandbox(engine.sandboxes, podRequest(), caller.signal);
    await hang.arrived;
    caller.abort(new Error("the caller left"));
    await assert.rejects(run);
    hang.release();
    await settle();
    const [held] = engine.sandboxes.store.all();
    await removeSandbox(engine.sandboxes, held?.id ?? "");
    assert.deepEqual(engine.sandboxes.inflightCreates.unclaimed(), []);
    assertNothingIsLeft(engine);
    assert.notEqual(await engine.run(), held?.id);
  });

  test("removes a sandbox whose controller this daemon does not have", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run({ linux: { cgroupParent: "/kubepods/pod1" } });
    const next = await engine.restart({ controllers: [] });
    await next.recover();
    await removePodSandbox(next.sandboxes, id, never);
    assert.deepEqual([...next.sandboxes.store.all()], []);
    assert.ok(!next.world.host.has("network", id));
  });

  test("succeeds on a full disk, and is recorded later", async (t) => {
    const engine = new FakeEngine(t);
    const { records, time } = engine.world;
    const id = await engine.run();
    records.full = true;
    await removePodSandbox(engine.sandboxes, id, never);
    assert.equal(engine.sandboxes.store.peek(id), undefined);
    assert.ok(engine.late.pendingWrites().includes(`sandbox "${id}"`));
    records.full = false;
    await time.advance(6_000);
    assertNothingIsLeft(engine);
  });
});
