import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { Signal } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { startContainer } from "./start.ts";
import { stopContainer } from "./stop.ts";

function exitOf(engine: FakeEngine, id: string) {
  const { state } = engine.containers.store.get(id);
  return state.name === "exited" ? state.exitCode : state.name;
}

describe("stopContainer()", () => {
  test("sends the stop signal, and returns when the exit is recorded", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    // A process that ends by its signal is not killed.
    engine.world.runtime.trouble.fail("killAll");
    await stopContainer(engine.containers, id.slice(0, 12), 30n, never);
    assert.deepEqual(engine.world.runtime.signals.get(id), [15]);
    assert.equal(exitOf(engine, id), 143);
    assert.equal(engine.world.records.containers.rows.get(id)?.state.name, "exited");
  });

  test("sends the signal of the request or the image, and SIGTERM for a damaged record", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const id = await engine.start(pod, { stopSignal: Signal.SIGUSR1 });
    await stopContainer(engine.containers, id, 30n, never);
    assert.deepEqual(engine.world.runtime.signals.get(id), [10]);
    const other = await engine.start(pod, { metadata: { name: "other", attempt: 0 } });
    engine.containers.store.update(other, (now) => ({ ...now, stopSignal: "SIGNONSENSE" }));
    await stopContainer(engine.containers, other, 30n, never);
    assert.deepEqual(engine.world.runtime.signals.get(other), [15]);
  });

  test("kills a process that does not exit within the grace period, and not before", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.stubborn.add(id);
    const stop = stopContainer(engine.containers, id, 30n, never);
    await time.advance(29_000);
    assert.equal(exitOf(engine, id), "running");
    assert.equal(engine.containers.operations.views()[0]?.stage, "wait-for-end");
    await time.advance(1_000);
    await stop;
    assert.deepEqual(runtime.signals.get(id), [15]);
    assert.equal(exitOf(engine, id), 137);
  });

  test("returns when the process exits within the grace period", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.stubborn.add(id);
    const stop = stopContainer(engine.containers, id, 30n, never);
    await time.advance(10_000);
    runtime.exit(id, { exitCode: 4 });
    await stop;
    assert.equal(exitOf(engine, id), 4);
  });

  test("kills at once without a grace period", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    await stopContainer(engine.containers, id, 0n, never);
    assert.equal(engine.world.runtime.signals.get(id), undefined);
    assert.equal(exitOf(engine, id), 137);
  });

  test("caps a grace period of years instead of killing at once", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.stubborn.add(id);
    const stop = stopContainer(engine.containers, id, 10_000_000_000n, never);
    await time.advance(3_600_000);
    assert.equal(exitOf(engine, id), "running");
    await stopContainer(engine.containers, id, 0n, never);
    await stop;
  });

  test("succeeds without a change when the container does not exist, is created or has exited", async (t) => {
    const engine = new FakeEngine(t);
    await stopContainer(engine.containers, "none", 1n, never);
    const id = await engine.create(await engine.run());
    await stopContainer(engine.containers, id, 1n, never);
    assert.equal(exitOf(engine, id), "created");
    await startContainer(engine.containers, id, never);
    engine.world.runtime.exit(id, { exitCode: 5 });
    await settle();
    await stopContainer(engine.containers, id, 1n, never);
    assert.equal(exitOf(engine, id), 5);
    assert.equal(engine.world.runtime.signals.get(id), undefined);
  });

  test("shortens the grace period of an earlier stop by a later one", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.stubborn.add(id);
    const long = stopContainer(engine.containers, id, 600n, never);
    const short = stopContainer(engine.containers, id, 2n, never);
    await time.advance(2_000);
    await Promise.all([long, short]);
    assert.equal(exitOf(engine, id), 137);
  });

  test("continues when its caller disconnects", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.stubborn.add(id);
    const caller = new AbortController();
    const stop = stopContainer(engine.containers, id, 2n, caller.signal);
    await settle();
    caller.abort(new Error("the caller left"));
    await assert.rejects(stop, /the caller left/);
    await time.advance(2_000);
    assert.equal(exitOf(engine, id), 137);
  });

  for (const [call, grace] of [
    ["kill", 30n],
    ["killAll", 0n],
  ] as const) {
    test(`shows the failure of ${call}() until a stop works`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.start(await engine.run());
      engine.world.runtime.trouble.fail(call, new RuntimeError("deadline-exceeded", "it hangs"));
      for (const tries of [1, 2]) {
        const stop = stopContainer(engine.containers, id, grace, never);
        await assert.rejects(stop, { kind: "deadline-exceeded", message: /it hangs/ });
        const [failed] = engine.containers.failedTeardowns.all();
        assert.deepEqual([failed?.subject, failed?.tries], [id, tries]);
      }
      engine.world.runtime.trouble.heal(call);
      await stopContainer(engine.containers, id, grace, never);
      assert.deepEqual(engine.containers.failedTeardowns.all(), []);
    });
  }

  test("ends 30 s after the grace period when no exit is reported", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    t.mock.method(runtime, "killAll", () => Promise.resolve());
    const stop = stopContainer(engine.containers, id, 0n, never);
    const rejected = assert.rejects(stop, { kind: "deadline-exceeded", message: /wait-for-exit/ });
    await time.advance(30_000);
    await rejected;
    assert.equal(exitOf(engine, id), "running");
  });

  test("adopts a process that the recovery could not adopt", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    const next = await engine.restart();
    runtime.trouble.fail("load");
    await next.recover();
    runtime.trouble.heal("load");
    await stopContainer(next.containers, id, 5n, never);
    assert.equal(exitOf(next, id), 143);
  });

  test("waits at most 5 s for a start that it has aborted", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.create(await engine.run());
    const hang = runtime.trouble.hang("start", { deaf: true });
    const start = startContainer(engine.containers, id, never);
    const rejected = assert.rejects(start, /is being stopped/);
    await hang.arrived;
    let isOver = false;
    const stop = stopContainer(engine.containers, id, 30n, never).then(() => {
      isOver = true;
    });
    await time.advance(4_000);
    assert.equal(isOver, false);
    await time.advance(1_000);
    await stop;
    hang.release();
    await rejected;
    assert.deepEqual(engine.world.host.idsOf("process"), []);
  });
});
