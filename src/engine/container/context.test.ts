import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeEngine, never } from "../testing/engine.ts";
import { runtimeOf } from "./context.ts";
import { removeContainer } from "./remove.ts";

test("a container whose sandbox was lost is removed by the first runtime", async (t) => {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine.start(pod);
  engine.sandboxes.store.remove(pod);
  const container = engine.containers.store.get(id);
  assert.equal(runtimeOf(engine.containers, container), engine.world.runtime);
  const without = { ...engine.containers, runtimes: [] };
  assert.throws(() => runtimeOf(without, container), {
    kind: "not-found",
    message: /this daemon has no container runtime/,
  });
});

test("a container stays removable when its sandbox's record is lost", async (t) => {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine.create(pod);
  engine.sandboxes.store.remove(pod);
  await removeContainer(engine.containers, id, never);
  assert.deepEqual(engine.world.host.idsOf("root"), []);
});
