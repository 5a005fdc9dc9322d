import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { FakeController } from "../testing/fake-controller.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { recoverSandboxes } from "./recover.ts";
import { stopPodSandbox } from "./stop.ts";

/** A pod, and the next daemon, which has not recovered yet. */
async function afterRestart(t: TestContext) {
  const engine = new FakeEngine(t);
  const id = await engine.run();
  return { id, engine: await engine.restart() };
}

function recover(engine: FakeEngine): Promise<void> {
  return recoverSandboxes(engine.sandboxes, engine.late);
}

function stateOf(engine: FakeEngine, id: string): string {
  const state = engine.sandboxes.store.peek(id)?.state;
  return state?.name === "dead" ? `dead: ${state.reason}` : (state?.name ?? "gone");
}

function changeRecord(engine: FakeEngine, id: string, change: Partial<Sandbox>): void {
  const { sandboxes } = engine.world.records;
  const sandbox = sandboxes.rows.get(id);
  if (sandbox !== undefined) sandboxes.rows.set(id, { ...sandbox, ...change });
}

describe("recoverSandboxes() with a sandbox of this boot", () => {
  test("lists one that is alive as ready, and watches it again", async (t) => {
    const { engine, id } = await afterRestart(t);
    await recover(engine);
    assert.equal(stateOf(engine, id), "ready");
    assert.ok(engine.sandboxes.store.isListed(id));
    engine.world.controller.die(id, "its holder was killed");
    await settle();
    assert.equal(stateOf(engine, id), "dead: its holder was killed");
    assert.deepEqual(engine.sandboxes.janitor.owned(), []);
  });

  test("lists one that its controller finds broken as dead, with its network", async (t) => {
    const { engine, id } = await afterRestart(t);
    engine.world.host.remove("holder", id);
    await recover(engine);
    assert.equal(stateOf(engine, id), "dead: its holder is gone");
    assert.ok(engine.sandboxes.store.isListed(id));
    assert.ok(engine.world.host.has("network", id));
  });

  for (const how of ["fails", "hangs"] as const) {
    test(`keeps the last known state when its controller ${how}, and asks again`, async (t) => {
      const { engine, id } = await afterRestart(t);
      const { controller, time, host } = engine.world;
      if (how === "fails") controller.trouble.fail("load");
      else controller.trouble.hang("load", { deaf: true });
      const recovery = recover(engine);
      await time.advance(2_000);
      await recovery;
      assert.equal(stateOf(engine, id), "ready");
      assert.ok(engine.sandboxes.store.isListed(id));
      controller.trouble.heal("load");
      host.remove("holder", id);
      await time.advance(5_000);
      assert.equal(stateOf(engine, id), "dead: its holder is gone");
      assert.deepEqual(engine.sandboxes.janitor.owned(), []);
    });
  }

  test("does not ask again for one that was removed meanwhile", async (t) => {
    const { engine, id } = await afterRestart(t);
    engine.world.controller.trouble.fail("load", undefined, 1);
    await recover(engine);
    engine.sandboxes.store.remove(id);
    await engine.world.time.advance(5_000);
    assert.deepEqual(engine.sandboxes.janitor.owned(), []);
  });

  test("does not change one that is stopped while its controller is asked again", async (t) => {
    const { engine, id } = await afterRestart(t);
    const { controller, time } = engine.world;
    controller.trouble.fail("load", undefined, 1);
    await recover(engine);
    const hang = controller.trouble.hang("load");
    await time.advance(2_000);
    await hang.arrived;
    await stopPodSandbox(engine.sandboxes, id, never);
    hang.release();
    await settle();
    assert.equal(stateOf(engine, id), "stopped");
  });

  test("lists dead and stopped ones as they are", async (t) => {
    const { engine, id } = await afterRestart(t);
    changeRecord(engine, id, { state: { name: "dead", reason: "killed", atNs: 1n } });
    const { records } = engine.world;
    const dead = records.sandboxes.rows.get(id);
    if (dead === undefined) assert.fail();
    records.sandboxes.rows.set("b", {
      ...dead,
      id: "b",
      name: "b",
      state: { name: "stopped", atNs: 1n },
    });
    await recover(engine);
    assert.deepEqual([stateOf(engine, id), stateOf(engine, "b")], ["dead: killed", "stopped"]);
    assert.equal([...engine.sandboxes.store.listed()].length, 2);
  });

  test("removes one whose create was interrupted, unlisted, and keeps its name until then", async (t) => {
    const { engine, id } = await afterRestart(t);
    changeRecord(engine, id, { state: { name: "creating" } });
    await recover(engine);
    assert.deepEqual([...engine.sandboxes.store.listed()], []);
    await assert.rejects(engine.run(), { kind: "unavailable" });
    await engine.world.time.advance(10);
    assert.deepEqual(engine.world.host.things(), []);
    assert.deepEqual(engine.world.host.removed, [
      "holder",
      "network",
      "namespaces",
      "files",
      "cgroup",
    ]);
    assert.equal(engine.world.records.sandboxes.rows.size, 0);
    await engine.run();
  });

  test("keeps one whose controller this daemon does not have", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const next = await engine.restart({ controllers: [] });
    await recover(next);
    assert.equal(stateOf(next, id), "ready");
    assert.deepEqual(next.sandboxes.janitor.owned(), []);
  });
});

describe("recoverSandboxes() with a sandbox of an earlier boot", () => {
  test("lists it as dead, without its process, and frees its addresses", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    engine.world.reboot();
    const next = await engine.restart();
    await recover(next);
    assert.equal(stateOf(next, id), "dead: the machine has been rebooted");
    assert.equal(next.sandboxes.store.get(id).process, undefined);
    await next.world.time.advance(10);
    assert.deepEqual(next.world.host.things(), []);
    assert.deepEqual(next.sandboxes.attachments.all(), []);
    await next.run({ metadata: { name: "web", namespace: "", uid: "", attempt: 1 } });
  });

  test("does not change one that had ended", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await stopPodSandbox(engine.sandboxes, id, never);
    engine.world.reboot();
    const next = await engine.restart();
    await recover(next);
    assert.equal(stateOf(next, id), "stopped");
  });
});

describe("recoverSandboxes() with two records of one name", () => {
  /** Loads two records of one name, changed as given, the older one first, and returns which one is ready. */
  async function survivor(t: TestContext, older: Partial<Sandbox>, newer: Partial<Sandbox>) {
    const { engine, id } = await afterRestart(t);
    const { records, host } = engine.world;
    const sandbox = records.sandboxes.rows.get(id);
    if (sandbox === undefined) assert.fail();
    records.sandboxes.rows.set(id, { ...sandbox, ...older });
    records.sandboxes.rows.set("b", { ...sandbox, id: "b", ...newer });
    for (const thing of ["files", "holder"] as const) host.make(thing, "b");
    await recover(engine);
    const { store } = engine.sandboxes;
    const owner = store.idOfName(sandbox.name) === "b" ? "newer" : "older";
    return { owner, older: stateOf(engine, id), newer: stateOf(engine, "b"), loser: store.get(id) };
  }

  test("keeps the newer one of two equals, and marks the other one dead", async (t) => {
    const { owner, older, newer, loser } = await survivor(t, {}, {});
    assert.deepEqual([owner, newer], ["newer", "ready"]);
    assert.match(older, /^dead: another sandbox in the database has its name/);
    // It may still run. Its process is kept for its removal.
    assert.ok(loser.process !== undefined);
  });

  test("keeps the one of this boot, and the one that is ready", async (t) => {
    const stopped = { state: { name: "stopped", atNs: 1n } } as const;
    assert.equal((await survivor(t, {}, { bootId: "boot-0" })).owner, "older");
    t.mock.timers.reset();
    assert.deepEqual((await survivor(t, {}, stopped)).owner, "older");
  });
});

describe("recoverSandboxes() with objects without a record", () => {
  test("removes them, including cgroup and network", async (t) => {
    const { engine, id } = await afterRestart(t);
    engine.world.records.sandboxes.rows.delete(id);
    await recover(engine);
    await engine.world.time.advance(10);
    assert.deepEqual(engine.world.host.things(), []);
    assert.deepEqual(engine.sandboxes.attachments.all(), []);
    // The cgroup before the objects that show that it belongs to davit.
    assert.deepEqual(engine.world.host.removed.slice(0, 2), ["holder", "cgroup"]);
    assert.ok(engine.logged("warn").includes(`removed an orphan: cgroup /davit/${id}`));
  });

  test("keeps the objects of a record that cannot be read", async (t) => {
    const { engine, id } = await afterRestart(t);
    engine.world.records.setAsideSandbox(id, "broken");
    await recover(engine);
    await engine.world.time.advance(10);
    assert.deepEqual(engine.world.host.things(), [
      "cgroup",
      "files",
      "holder",
      "namespaces",
      "network",
    ]);
  });

  test("continues without a controller that hangs, and retries one that fails", async (t) => {
    const engine = new FakeEngine(t);
    const { host, time, controller } = engine.world;
    const lost = await engine.run();
    const other = new FakeController({ host, clock: time, name: "other" });
    const next = await engine.restart({ controllers: [controller, other] });
    next.world.records.sandboxes.rows.delete(lost);
    const hang = other.trouble.hang("orphans");
    controller.trouble.fail("sweep", undefined, 1);
    const recovery = recover(next);
    await time.advance(2_000);
    await recovery;
    hang.release();
    await time.advance(2_000);
    assert.deepEqual(host.things(), []);
  });
});

describe("recoverSandboxes()", () => {
  test("continues the queued network removals, and leaves the others to the client", async (t) => {
    const engine = new FakeEngine(t);
    const { network, time, host } = engine.world;
    const queued = await engine.run();
    const alive = await engine.run({ metadata: { name: "b", namespace: "", uid: "", attempt: 0 } });
    network.trouble.fail("remove");
    engine.sandboxes.teardown.enqueue(queued);
    const next = await engine.restart();
    network.trouble.heal("remove");
    await recover(next);
    await time.advance(10);
    assert.deepEqual(host.idsOf("network"), [alive]);
  });

  test("rejects when the records cannot be read at all", async (t) => {
    const { engine } = await afterRestart(t);
    t.mock.method(engine.world.records.sandboxes, "load", () => {
      throw new Error("the database is malformed");
    });
    await assert.rejects(recover(engine), /stage read-records.*the database is malformed/);
  });

  test("restores a thousand sandboxes", async (t) => {
    const { engine, id } = await afterRestart(t);
    const { records, host } = engine.world;
    const sandbox = records.sandboxes.rows.get(id);
    if (sandbox === undefined) assert.fail();
    for (let n = 0; n < 1_000; n++) {
      records.sandboxes.rows.set(`s${n}`, { ...sandbox, id: `s${n}`, name: `s${n}` });
      for (const thing of ["files", "holder"] as const) host.make(thing, `s${n}`);
    }
    await recover(engine);
    const ready = [...engine.sandboxes.store.listed()].filter(
      ({ state }) => state.name === "ready",
    );
    assert.equal(ready.length, 1_001);
  });
});
