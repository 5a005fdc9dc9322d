import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeController } from "../testing/fake-controller.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { stopPodSandbox } from "./stop.ts";
import { markDead, watchSandbox } from "./watch.ts";

describe("watchSandbox()", () => {
  test("marks a sandbox that ends by itself dead, with the reason", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    engine.world.controller.die(id, "its holder was killed");
    await settle();
    const { state } = engine.sandboxes.store.get(id);
    assert.ok(state.name === "dead" && state.reason === "its holder was killed");
    assert.equal(engine.world.records.sandboxes.rows.get(id)?.state.name, "dead");
    assert.ok(engine.logged("warn").includes("a sandbox died"));
  });

  test("logs nothing for one that is stopped or removed", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await stopPodSandbox(engine.sandboxes, id, never);
    await settle();
    assert.equal(engine.sandboxes.store.get(id).state.name, "stopped");
    assert.ok(!engine.logged("warn").includes("a sandbox died"));
    markDead(engine.sandboxes, "none", "it is gone");
  });

  test("ignores a sandbox whose controller this daemon does not have", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const { host, time } = engine.world;
    const controllers = [new FakeController({ host, clock: time, name: "other" })];
    const next = await engine.restart({ controllers });
    await next.recover();
    watchSandbox(next.sandboxes, next.sandboxes.store.get(id));
    engine.world.controller.die(id, "its holder was killed");
    await settle();
    assert.equal(next.sandboxes.store.get(id).state.name, "ready");
    assert.deepEqual(next.logged("error"), []);
  });
});
