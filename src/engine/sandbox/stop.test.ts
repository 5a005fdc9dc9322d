import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { stages } from "../../core/operation/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { podRequest } from "../testing/objects.ts";
import { runPodSandbox } from "./run.ts";
import { stopPodSandbox } from "./stop.ts";

function stateOf(engine: FakeEngine, id: string): string | undefined {
  return engine.sandboxes.store.peek(id)?.state.name;
}

describe("stopPodSandbox()", () => {
  test("ends containers and processes, then the network, then the namespaces, and keeps the record", async (t) => {
    const engine = new FakeEngine(t);
    const { host, records } = engine.world;
    const id = await engine.run();
    const container = await engine.start(id);
    await stopPodSandbox(engine.sandboxes, id.slice(0, 12), never);
    assert.deepEqual(host.removed, ["process", "holder", "network", "namespaces"]);
    assert.equal(stateOf(engine, id), "stopped");
    assert.equal(records.sandboxes.rows.get(id)?.state.name, "stopped");
    assert.equal(engine.containers.store.get(container).state.name, "exited");
    assert.deepEqual([records.attachments.rows.size, records.notes.ids.size], [0, 0]);
  });

  test("enters each stage once", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await stopPodSandbox(engine.sandboxes, id, never);
    const past = engine.sandboxes.operations.history.of(id).at(-1);
    assert.deepEqual(
      past?.stages.map(({ stage }) => stage),
      stages["stop-pod-sandbox"],
    );
  });

  test("succeeds for a sandbox that does not exist, and does nothing for a stopped one", async (t) => {
    const engine = new FakeEngine(t);
    await stopPodSandbox(engine.sandboxes, "none", never);
    const id = await engine.run();
    await stopPodSandbox(engine.sandboxes, id, never);
    const stopped = engine.sandboxes.store.get(id);
    engine.world.controller.trouble.fail("stop");
    await stopPodSandbox(engine.sandboxes, id, never);
    assert.equal(engine.sandboxes.store.get(id), stopped);
  });

  test("makes the sandbox not ready first, even if a later step fails", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.faults.hang("stop-pod-sandbox/end-processes");
    const stop = stopPodSandbox(engine.sandboxes, id, never);
    await hang.arrived;
    assert.equal(stateOf(engine, id), "dead");
    hang.release();
    await stop;
  });

  for (const stage of stages["stop-pod-sandbox"]) {
    test(`can be retried when stage ${stage} failed`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.run();
      engine.faults.fail(`stop-pod-sandbox/${stage}`);
      await assert.rejects(stopPodSandbox(engine.sandboxes, id, never), {
        kind: "internal",
        message: new RegExp(`stop pod sandbox "${id}" .*fault at`),
      });
      const failed = engine.sandboxes.failedTeardowns.all();
      assert.deepEqual([failed[0]?.subject, failed[0]?.tries], [id, 1]);
      engine.faults.heal(`stop-pod-sandbox/${stage}`);
      await stopPodSandbox(engine.sandboxes, id, never);
      assert.equal(stateOf(engine, id), "stopped");
      assert.deepEqual(engine.sandboxes.failedTeardowns.all(), []);
      assert.deepEqual(engine.world.host.things(), ["cgroup", "files"]);
    });
  }

  test("reports a network that cannot be removed twice, then queues it", async (t) => {
    const engine = new FakeEngine(t);
    const { network, host, time } = engine.world;
    const id = await engine.run();
    network.trouble.fail("remove", new RuntimeError("unavailable", "plugin broke"));
    for (const tries of [1, 2]) {
      await assert.rejects(stopPodSandbox(engine.sandboxes, id, never), {
        kind: "unavailable",
        message: new RegExp(`stage remove-network.*\\(try ${tries}\\): plugin broke`),
      });
      // Its processes have still ended, and its namespaces wait for the removal of the network.
      assert.deepEqual(host.things(), ["cgroup", "files", "namespaces", "network"]);
    }
    await stopPodSandbox(engine.sandboxes, id, never);
    assert.equal(stateOf(engine, id), "stopped");
    assert.deepEqual(host.things(), ["cgroup", "files", "network"]);
    network.trouble.heal("remove");
    await time.advance(10_000);
    assert.deepEqual(host.things(), ["cgroup", "files"]);
  });

  test("shows the plugin that the removal of the network waits for", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.world.network.trouble.hang("remove");
    const stop = stopPodSandbox(engine.sandboxes, id, never);
    await hang.arrived;
    const [view] = engine.sandboxes.operations.views();
    assert.deepEqual([view?.stage, view?.detail], ["remove-network", "bridge"]);
    hang.release();
    await stop;
  });

  for (const call of ["stop", "closeNamespaces"] as const) {
    test(`ends at its own deadline when the controller's ${call}() ignores its signal`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.run();
      const hang = engine.world.controller.trouble.hang(call, { deaf: true });
      const stop = stopPodSandbox(engine.sandboxes, id, never);
      const rejected = assert.rejects(stop, { kind: "deadline-exceeded", message: /than 110 s/ });
      await hang.arrived;
      await engine.world.time.advance(110_000);
      await rejected;
    });
  }

  test("ends all containers, and the sandbox only when all of them have ended", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, host } = engine.world;
    const id = await engine.run();
    const stuck = await engine.start(id);
    const other = await engine.start(id, { metadata: { name: "other", attempt: 0 } });
    runtime.trouble.fail("killAll", new RuntimeError("deadline-exceeded", "it hangs"), 1);
    await assert.rejects(stopPodSandbox(engine.sandboxes, id, never), /it hangs/);
    assert.equal(engine.containers.store.get(stuck).state.name, "running");
    assert.equal(engine.containers.store.get(other).state.name, "exited");
    assert.ok(host.has("holder", id));
    await stopPodSandbox(engine.sandboxes, id, never);
    assert.ok(!host.has("holder", id));
  });

  test("stops a sandbox whose controller this daemon does not have", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const next = await engine.restart({ controllers: [] });
    await next.recover();
    await stopPodSandbox(next.sandboxes, id, never);
    assert.equal(stateOf(next, id), "stopped");
    assert.ok(!next.world.host.has("network", id));
  });

  test("succeeds on a full disk, and is recorded later", async (t) => {
    const engine = new FakeEngine(t);
    const { records, time } = engine.world;
    const id = await engine.run();
    records.full = true;
    await stopPodSandbox(engine.sandboxes, id, never);
    assert.equal(stateOf(engine, id), "stopped");
    assert.equal(records.sandboxes.rows.get(id)?.state.name, "ready");
    records.full = false;
    await time.advance(6_000);
    assert.equal(records.sandboxes.rows.get(id)?.state.name, "stopped");
    assert.equal(records.attachments.rows.size, 0);
  });
});

describe("stopPodSandbox(), concurrently with other calls,", () => {
  test("waits for an earlier stop, or until its caller disconnects", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.world.controller.trouble.hang("stop");
    const first = stopPodSandbox(engine.sandboxes, id, never);
    await hang.arrived;
    const caller = new AbortController();
    const second = stopPodSandbox(engine.sandboxes, id, caller.signal);
    const third = stopPodSandbox(engine.sandboxes, id, never);
    caller.abort(new Error("the caller left"));
    await assert.rejects(second, /the caller left/);
    hang.release();
    await Promise.all([first, third]);
    assert.equal(stateOf(engine, id), "stopped");
  });

  test("continues under its own deadline when its caller disconnects", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.world.controller.trouble.hang("stop");
    const caller = new AbortController();
    const stop = stopPodSandbox(engine.sandboxes, id, caller.signal);
    await hang.arrived;
    caller.abort(new Error("the caller left"));
    hang.release();
    await stop;
    assert.equal(stateOf(engine, id), "stopped");
  });

  test("does not find a pod that is being created or unclaimed", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.faults.hang("run-pod-sandbox/add-network");
    const run = engine.run();
    await hang.arrived;
    const [made] = engine.sandboxes.store.all();
    await stopPodSandbox(engine.sandboxes, made?.id ?? "", never);
    hang.release();
    assert.equal(stateOf(engine, await run), "ready");
    const caller = new AbortController();
    const config = { metadata: { name: "held", namespace: "", uid: "", attempt: 0 } };
    const again = engine.faults.hang("run-pod-sandbox/add-network");
    const held = runPodSandbox(engine.sandboxes, podRequest(config), caller.signal);
    await again.arrived;
    caller.abort(new Error("the caller left"));
    await assert.rejects(held);
    again.release();
    await settle();
    const id = [...engine.sandboxes.store.all()].at(-1)?.id ?? "";
    await stopPodSandbox(engine.sandboxes, id, never);
    assert.equal(stateOf(engine, id), "ready");
  });

  test("does nothing when the sandbox was removed while it waited", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const turn = await engine.sandboxes.locks.acquire(id);
    const stop = stopPodSandbox(engine.sandboxes, id, never);
    engine.sandboxes.store.remove(id);
    turn[Symbol.dispose]();
    await stop;
    assert.deepEqual(engine.world.host.removed, []);
  });
});
