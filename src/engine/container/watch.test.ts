import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ContainerExit } from "../../core/container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { stopContainer } from "./stop.ts";
import { recordExit, adoptProcess } from "./watch.ts";

const ends: readonly {
  readonly name: string;
  readonly exit: Partial<ContainerExit>;
  readonly reason: string;
  readonly message?: string;
}[] = [
  { name: "0 is Completed", exit: { exitCode: 0 }, reason: "Completed" },
  { name: "another code is Error", exit: { exitCode: 2 }, reason: "Error" },
  {
    name: "out of memory is OOMKilled",
    exit: { exitCode: 137, oomKilled: true },
    reason: "OOMKilled",
  },
  {
    name: "an exit that nobody recorded is Unknown",
    exit: { exitCode: 255, unknown: true, oomKilled: true },
    reason: "Unknown",
    message: "nobody recorded how its process ended",
  },
];

describe("watchContainer()", () => {
  for (const { name, exit, reason, message = "" } of ends) {
    test(`puts the end on record: ${name}`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.start(await engine.run());
      const before = engine.containers.store.get(id).state;
      engine.world.runtime.exit(id, { ...exit, finishedAtNs: 9n });
      await settle();
      const { state } = engine.containers.store.get(id);
      assert.deepEqual(state, {
        name: "exited",
        startedAtNs: before.name === "running" ? before.startedAtNs : 0n,
        finishedAtNs: 9n,
        exitCode: exit.exitCode,
        reason,
        message,
      });
      assert.deepEqual(engine.world.records.containers.rows.get(id)?.state, state);
      const [line] = engine.log.filter((each) => each.message === "container ended");
      assert.deepEqual([line?.fields["reason"], line?.fields["pod"]], [reason, "default/web"]);
    });
  }

  test("takes an end on a full disk for true, and records it when there is room", async (t) => {
    const engine = new FakeEngine(t);
    const { records, runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    records.full = true;
    runtime.exit(id, { exitCode: 1 });
    await settle();
    assert.equal(engine.containers.store.get(id).state.name, "exited");
    assert.equal(records.containers.rows.get(id)?.state.name, "running");
    records.full = false;
    await time.advance(6_000);
    assert.equal(records.containers.rows.get(id)?.state.name, "exited");
  });

  test("forgets that a stop failed when the end comes after all", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.trouble.fail("killAll");
    await assert.rejects(stopContainer(engine.containers, id, 0n, never));
    assert.equal(engine.containers.failedEnds.all().length, 1);
    runtime.exit(id);
    await settle();
    assert.deepEqual(engine.containers.failedEnds.all(), []);
  });

  test("says in the log when the runtime cannot tell the end", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.runtime.trouble.fail("wait");
    const id = await engine.start(await engine.run());
    await settle();
    assert.deepEqual(engine.logged("error"), [`wait for container "${id}": wait broke`]);
  });
});

test("recordExit() leaves alone what has ended, and what is gone", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.start(await engine.run());
  const exit = { exitCode: 1, finishedAtNs: 1n, oomKilled: false, unknown: false };
  recordExit(engine.containers, id, exit);
  const first = engine.containers.store.get(id);
  recordExit(engine.containers, id, { ...exit, exitCode: 2 });
  recordExit(engine.containers, "none", exit);
  assert.equal(engine.containers.store.get(id), first);
});

test("adoptProcess() never says that something is not there: the container is", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.start(await engine.run());
  const container = engine.containers.store.get(id);
  if (container.state.name !== "running") assert.fail();
  await engine.world.runtime.remove(id);
  const { state } = container;
  await assert.rejects(adoptProcess(engine.containers, container, state), {
    kind: "failed-precondition",
    message: /no bundle/,
  });
  engine.world.runtime.trouble.fail("load");
  await assert.rejects(adoptProcess(engine.containers, container, state), { kind: "internal" });
});
