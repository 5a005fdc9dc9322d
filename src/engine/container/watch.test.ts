import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ContainerExit } from "../../core/container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { stopContainer } from "./stop.ts";
import { adoptProcess } from "./adopt.ts";
import { recordExit } from "./watch.ts";

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
    message: "the exit status of its process is lost",
  },
];

describe("watchContainer()", () => {
  for (const { name, exit, reason, message = "" } of ends) {
    test(`records the exit: ${name}`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.start(await engine.run());
      const before = engine.containers.store.get(id).state;
      assert.ok(before.name === "running");
      const { startedAtNs } = before;
      const finishedAtNs = startedAtNs + 9n;
      engine.world.runtime.exit(id, { ...exit, finishedAtNs });
      await settle();
      const { state } = engine.containers.store.get(id);
      assert.deepEqual(state, {
        name: "exited",
        startedAtNs,
        finishedAtNs,
        exitCode: exit.exitCode,
        reason,
        message,
      });
      assert.deepEqual(engine.world.records.containers.rows.get(id)?.state, state);
      const [line] = engine.log.filter((each) => each.message === "container ended");
      assert.deepEqual([line?.fields["reason"], line?.fields["pod"]], [reason, "default/web"]);
    });
  }

  test("records an end after the start, whatever the clocks say", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    engine.world.runtime.exit(id, { exitCode: 0, finishedAtNs: 1n });
    await settle();
    const { state } = engine.containers.store.get(id);
    assert.ok(state.name === "exited" && state.startedAtNs > 1n);
    assert.equal(state.finishedAtNs, state.startedAtNs + 1n);
  });

  test("reports an exit on a full disk, and records it later", async (t) => {
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

  test("forgets a failed stop when the process exits after all", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.trouble.fail("killAll");
    await assert.rejects(stopContainer(engine.containers, id, 0n, never));
    assert.equal(engine.containers.failedTeardowns.all().length, 1);
    runtime.exit(id);
    await settle();
    assert.deepEqual(engine.containers.failedTeardowns.all(), []);
  });

  test("logs that the runtime cannot report the exit", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.runtime.trouble.fail("wait");
    const id = await engine.start(await engine.run());
    await settle();
    assert.deepEqual(engine.logged("error"), [`wait for container "${id}": wait broke`]);
  });
});

test("recordExit() ignores containers that have exited or do not exist", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.start(await engine.run());
  const exit = { exitCode: 1, finishedAtNs: 1n, oomKilled: false, unknown: false };
  recordExit(engine.containers, id, exit);
  const first = engine.containers.store.get(id);
  recordExit(engine.containers, id, { ...exit, exitCode: 2 });
  recordExit(engine.containers, "none", exit);
  assert.equal(engine.containers.store.get(id), first);
});

test("adoptProcess() never fails with not-found, because the container exists", async (t) => {
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
