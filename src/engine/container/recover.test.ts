import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { startContainer } from "./start.ts";
import { stopContainer } from "./stop.ts";

/** A running container, and the next daemon, which has not recovered yet. */
async function afterRestart(t: TestContext, kind: "start" | "create" = "start") {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine[kind](pod);
  return { id, pod, engine: await engine.restart() };
}

function stateOf(engine: FakeEngine, id: string) {
  return engine.containers.store.peek(id)?.state;
}

function changeRecord(engine: FakeEngine, id: string, change: Partial<Container>): void {
  const { containers } = engine.world.records;
  const container = containers.rows.get(id);
  if (container !== undefined) containers.rows.set(id, { ...container, ...change });
}

describe("recoverContainers() with a running container", () => {
  test("lists it as running, and waits for its end", async (t) => {
    const { engine, id } = await afterRestart(t);
    await engine.recover();
    assert.equal(stateOf(engine, id)?.name, "running");
    assert.ok(engine.containers.store.isListed(id));
    engine.world.runtime.exit(id, { exitCode: 6 });
    await settle();
    const state = stateOf(engine, id);
    assert.ok(state?.name === "exited" && state.exitCode === 6);
  });

  test("records an exit that happened while no daemon ran", async (t) => {
    const { engine, id } = await afterRestart(t);
    engine.world.runtime.exit(id, { exitCode: 137, oomKilled: true });
    await engine.recover();
    await settle();
    const state = stateOf(engine, id);
    assert.ok(state?.name === "exited" && state.reason === "OOMKilled");
  });

  test("lists it as running when it cannot reattach, and retries", async (t) => {
    const { engine, id } = await afterRestart(t);
    const { runtime, time } = engine.world;
    runtime.trouble.fail("load", new RuntimeError("not-found", "no runtime"), 1);
    await engine.recover();
    assert.equal(stateOf(engine, id)?.name, "running");
    assert.ok(engine.containers.store.isListed(id));
    const message = "failed to reattach to a container; will retry";
    assert.ok(engine.logged("error").includes(message));
    runtime.exit(id, { exitCode: 6 });
    await time.advance(3_000);
    const state = stateOf(engine, id);
    assert.ok(state?.name === "exited" && state.exitCode === 6);
    assert.deepEqual(engine.containers.janitor.owned(), []);
  });

  test("does not retry for one that was stopped meanwhile", async (t) => {
    const { engine, id } = await afterRestart(t);
    const { runtime, time } = engine.world;
    runtime.trouble.fail("load", undefined, 1);
    await engine.recover();
    await stopContainer(engine.containers, id, 0n, never);
    runtime.trouble.fail("load");
    await time.advance(3_000);
    assert.deepEqual(engine.containers.janitor.owned(), []);
  });
});

describe("recoverContainers() with a created container", () => {
  test("lists it as created, and it can be started", async (t) => {
    const { engine, id } = await afterRestart(t, "create");
    await engine.recover();
    assert.equal(stateOf(engine, id)?.name, "created");
    await startContainer(engine.containers, id, never);
    assert.equal(stateOf(engine, id)?.name, "running");
  });

  test("records a start that was not recorded, and waits for its end", async (t) => {
    const { engine, id } = await afterRestart(t);
    changeRecord(engine, id, { state: { name: "created" } });
    await engine.recover();
    assert.equal(stateOf(engine, id)?.name, "running");
    assert.equal(engine.world.records.containers.rows.get(id)?.state.name, "running");
    engine.world.runtime.exit(id, { exitCode: 6 });
    await settle();
    assert.equal(stateOf(engine, id)?.name, "exited");
  });

  test("ends a start that still cannot be recorded", async (t) => {
    const { engine, id } = await afterRestart(t);
    changeRecord(engine, id, { state: { name: "created" } });
    engine.world.records.full = true;
    await engine.recover();
    assert.equal(stateOf(engine, id)?.name, "created");
    assert.deepEqual(engine.world.host.idsOf("process"), []);
    engine.world.records.full = false;
    await engine.world.time.advance(3_000);
    assert.equal(stateOf(engine, id)?.name, "created");
    assert.deepEqual(engine.containers.janitor.owned(), []);
  });

  test("continues without a check that hangs, and lists the container", async (t) => {
    const { engine, id } = await afterRestart(t, "create");
    const hang = engine.world.runtime.trouble.hang("loadUnrecorded");
    const recovery = engine.recover();
    await engine.world.time.advance(2_000);
    await recovery;
    assert.ok(engine.containers.store.isListed(id));
    // A start waits until the check is over.
    const start = startContainer(engine.containers, id, never);
    await settle();
    assert.equal(stateOf(engine, id)?.name, "created");
    hang.release();
    await start;
    assert.equal(stateOf(engine, id)?.name, "running");
  });

  test("does not check again for one that was removed meanwhile", async (t) => {
    const { engine, id } = await afterRestart(t, "create");
    engine.world.runtime.trouble.fail("loadUnrecorded", undefined, 1);
    await engine.recover();
    engine.containers.store.remove(id);
    await engine.world.time.advance(3_000);
    assert.deepEqual(engine.containers.janitor.owned(), []);
  });
});

describe("recoverContainers() with a container of an earlier boot", () => {
  for (const kind of ["start", "create"] as const) {
    test(`marks one exited, 255, Unknown, that existed after ${kind}`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine[kind](await engine.run());
      const before = engine.containers.store.get(id).state;
      engine.world.reboot();
      const next = await engine.restart();
      await next.recover();
      const state = stateOf(next, id);
      assert.ok(state?.name === "exited");
      assert.deepEqual(
        [state.exitCode, state.reason, state.message],
        [255, "Unknown", "the machine has been rebooted"],
      );
      assert.equal(state.startedAtNs, before.name === "running" ? before.startedAtNs : 0n);
      assert.ok(next.containers.store.isListed(id));
      assert.deepEqual(next.world.records.containers.rows.get(id)?.state, state);
    });
  }

  test("does not change one that had exited", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    await stopContainer(engine.containers, id, 0n, never);
    const before = stateOf(engine, id);
    engine.world.reboot();
    const next = await engine.restart();
    await next.recover();
    assert.deepEqual(stateOf(next, id), before);
  });
});

describe("recoverContainers() removes", () => {
  test("a container whose create was interrupted", async (t) => {
    const { engine, id } = await afterRestart(t, "create");
    changeRecord(engine, id, { state: { name: "creating" } });
    await engine.recover();
    assert.ok(!engine.containers.store.isListed(id));
    await engine.world.time.advance(10);
    assert.equal(stateOf(engine, id), undefined);
    assert.deepEqual(engine.world.host.idsOf("root"), []);
  });

  test("a container whose sandbox does not exist, with its process", async (t) => {
    const { engine, id, pod } = await afterRestart(t);
    engine.world.records.sandboxes.rows.delete(pod);
    await engine.recover();
    const state = stateOf(engine, id);
    assert.ok(state?.name === "exited" && state.message === "its sandbox is gone");
    await engine.world.time.advance(10);
    assert.equal(stateOf(engine, id), undefined);
    assert.deepEqual(engine.world.host.idsOf("process"), []);
    assert.deepEqual(engine.world.host.idsOf("root"), []);
  });

  test("containers without a record, processes before roots", async (t) => {
    const { engine, id } = await afterRestart(t);
    engine.world.records.containers.rows.delete(id);
    await engine.recover();
    assert.deepEqual(engine.world.host.removed, ["process", "bundle", "root"]);
  });

  test("roots without a record", async (t) => {
    const { engine, id } = await afterRestart(t, "create");
    engine.world.records.containers.rows.delete(id);
    await engine.recover();
    assert.deepEqual(engine.world.host.idsOf("root"), []);
    assert.ok(engine.logged("warn").includes(`removed an orphan: root ${id}`));
  });

  test("nothing of a record that cannot be read", async (t) => {
    const { engine, id } = await afterRestart(t);
    const { records, host, time } = engine.world;
    records.containers.rows.delete(id);
    records.aside.push({ kind: "container", id, reason: "broken" });
    await engine.recover();
    await time.advance(3_000);
    assert.deepEqual([host.idsOf("process"), host.idsOf("root")], [[id], [id]]);
  });

  test("no root of a process that does not exit, and retries both", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const lost = await engine.start(pod);
    const other = await engine.start(pod, { metadata: { name: "b", attempt: 0 } });
    const next = await engine.restart();
    const { records, runtime, host, time } = next.world;
    for (const id of [lost, other]) records.containers.rows.delete(id);
    runtime.trouble.fail("killAll", undefined, 1);
    await next.recover();
    // The failure of the first one does not affect the second one.
    assert.deepEqual([host.idsOf("process"), host.idsOf("root")], [[lost], [lost]]);
    await time.advance(3_000);
    assert.deepEqual([host.idsOf("process"), host.idsOf("root")], [[], []]);
  });
});
