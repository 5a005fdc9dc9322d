import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { containerUsage } from "./usage.ts";
import { stopContainer } from "./stop.ts";

test("containerUsage() reads what a running container uses, and keeps the last figures", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.start(await engine.run());
  const running = await containerUsage(engine.containers, id.slice(0, 12));
  assert.equal(running.ended, false);
  assert.deepEqual([running.usage.cpuNs, running.usage.pids], [5n, 1n]);
  const usage = { takenAtNs: 7n, cpuNs: 9n };
  engine.world.runtime.exit(id, { usage });
  await settle();
  assert.deepEqual(await containerUsage(engine.containers, id), { ended: true, usage });
});

test("containerUsage() of a container whose last figures are unknown has the time of its end", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.start(await engine.run());
  await stopContainer(engine.containers, id, 0n, never);
  const { state } = engine.containers.store.get(id);
  assert.ok(state.name === "exited");
  const usage = { takenAtNs: state.finishedAtNs };
  assert.deepEqual(await containerUsage(engine.containers, id), { ended: true, usage });
});

test("containerUsage() answers with the last figures if the container ends meanwhile", async (t) => {
  const usage = { takenAtNs: 7n, cpuNs: 9n };
  const engine = new FakeEngine(t, {
    containers: {
      usage: async () => {
        engine.world.runtime.exit(id, { usage });
        await settle();
        return undefined;
      },
    },
  });
  const id = await engine.start(await engine.run());
  assert.deepEqual(await containerUsage(engine.containers, id), { ended: true, usage });
});

test("containerUsage() rejects a container that was never started, and one that is not there", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.create(await engine.run());
  const message = /it was never started/;
  await assert.rejects(containerUsage(engine.containers, id), {
    kind: "failed-precondition",
    message,
  });
  await assert.rejects(containerUsage(engine.containers, "none"), { kind: "not-found" });
});
