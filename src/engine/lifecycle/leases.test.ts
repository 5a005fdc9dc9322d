import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { stages } from "../../core/operation/index.ts";
import { leaseLabel } from "../../core/sandbox/index.ts";
import { runPodSandbox, stopPodSandbox } from "../sandbox/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { podRequest } from "../testing/objects.ts";
import { maxGraceSeconds, maxLeases, takeOverMs } from "./leases.ts";

const fresh = { id: "", graceSeconds: 0 };

const leased = (id: string, name = "web") => ({
  metadata: { name, namespace: "default", uid: name, attempt: 0 },
  labels: { [leaseLabel]: id },
});

function assertNothingIsLeft({ world, sandboxes, containers }: FakeEngine): void {
  assert.deepEqual(world.host.things(), []);
  assert.deepEqual([...sandboxes.store.all()], []);
  assert.deepEqual([...containers.store.all()], []);
  assert.deepEqual(
    [world.records.sandboxes.rows.size, world.records.attachments.rows.size],
    [0, 0],
  );
  assert.deepEqual([sandboxes.janitor.owned(), sandboxes.inflightCreates.unclaimed()], [[], []]);
}

describe("the end of a lease", () => {
  test("removes its pods with their containers, and no others", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const other = engine.leases.hold(fresh);
    assert.match(lease.id, /^[0-9a-f]{32}$/);
    assert.notEqual(lease.id, other.id);
    await engine.start(await engine.run(leased(lease.id)));
    await engine.run(leased(lease.id, "second"));
    const kept = [await engine.run(leased(other.id, "third")), await engine.run()];
    lease[Symbol.dispose]();
    await engine.world.time.advance(1_000);
    assert.deepEqual(
      [...engine.sandboxes.store.all()].map(({ id, state }) => [id, state.name]),
      kept.map((id) => [id, "ready"]),
    );
    assert.deepEqual([...engine.containers.store.all()], []);
    const { leases, leaseRemovals } = engine.leases.facts();
    assert.deepEqual(leases, [{ id: other.id, state: "held", pods: 1 }]);
    assert.deepEqual(
      (leaseRemovals as { name: string }[]).map(({ name }) => name),
      ["web_default_web_0", "second_default_second_0"],
    );
    const log = engine.logged("info");
    assert.equal(log.filter((line) => line === "removing a pod because its lease ended").length, 2);
  });

  test("lets containers end in the grace period, in which nothing can be created, and then kills them", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const lease = engine.leases.hold({ id: "", graceSeconds: 20 });
    const pod = await engine.run(leased(lease.id));
    const container = await engine.start(pod);
    runtime.stubborn.add(container);
    lease[Symbol.dispose]();
    await time.advance(19_000);
    assert.equal(engine.containers.store.get(container).state.name, "running");
    const message = /its lease ended/;
    await assert.rejects(engine.create(pod, { metadata: { name: "late", attempt: 0 } }), {
      message,
    });
    await time.advance(3_000);
    assertNothingIsLeft(engine);
  });

  test("shortens a grace period that is too long", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold({ id: "", graceSeconds: 2 ** 32 - 1 });
    const container = await engine.start(await engine.run(leased(lease.id)));
    engine.world.runtime.stubborn.add(container);
    lease[Symbol.dispose]();
    await engine.world.time.advance(maxGraceSeconds * 1000);
    await engine.world.time.advance(20_000);
    assertNothingIsLeft(engine);
  });

  test("repeats a removal that fails, names it, and finishes it", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const id = await engine.run(leased(lease.id));
    engine.faults.fail("remove-pod-sandbox/shut-down");
    lease[Symbol.dispose]();
    await engine.world.time.advance(10_000);
    assert.deepEqual(engine.sandboxes.janitor.owned(), [id]);
    const [failed] = engine.sandboxes.failedTeardowns.all();
    assert.equal(failed?.subject, id);
    assert.ok(failed.tries > 2);
    assert.ok(engine.logged("warn").includes("failed to clean up; will retry"));
    engine.faults.heal("remove-pod-sandbox/shut-down");
    await engine.world.time.advance(60_000);
    assertNothingIsLeft(engine);
    assert.deepEqual(engine.sandboxes.failedTeardowns.all(), []);
  });

  test("is not the end of pods that a client removed", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const id = await engine.run(leased(lease.id));
    await stopPodSandbox(engine.sandboxes, id, never);
    lease[Symbol.dispose]();
    lease[Symbol.dispose]();
    await engine.world.time.advance(1_000);
    assertNothingIsLeft(engine);
    assert.equal(engine.logged("info").filter((line) => line === "a lease ended").length, 1);
  });
});

describe("a pod that is being created when its lease ends", () => {
  const others = ["start-shim", "create-sandbox", "start-sandbox", "limit-egress"];
  for (const stage of stages["run-pod-sandbox"].filter((each) => !others.includes(each))) {
    test(`is undone in stage ${stage}`, async (t) => {
      const engine = new FakeEngine(t);
      const lease = engine.leases.hold(fresh);
      const hang = engine.faults.hang(`run-pod-sandbox/${stage}`);
      const run = engine.run(leased(lease.id));
      await hang.arrived;
      lease[Symbol.dispose]();
      await assert.rejects(run, { kind: "aborted", message: /the lease of the pod ended/ });
      await engine.world.time.advance(1_000);
      assertNothingIsLeft(engine);
    });
  }

  test("is removed if a step does not notice", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const hang = engine.world.network.trouble.hang("add", { deaf: true });
    const run = engine.run(leased(lease.id));
    run.catch(() => undefined);
    await hang.arrived;
    lease[Symbol.dispose]();
    await engine.world.time.advance(1_000);
    hang.release();
    await assert.rejects(run, { kind: "aborted" });
    await engine.world.time.advance(1_000);
    assertNothingIsLeft(engine);
  });

  test("is removed by the janitor if its undo fails", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const hang = engine.faults.hang("run-pod-sandbox/finish-record");
    const run = engine.run(leased(lease.id));
    await hang.arrived;
    engine.world.controller.trouble.fail("shutdown");
    lease[Symbol.dispose]();
    const rejected = assert.rejects(run, { kind: "aborted" });
    await engine.world.time.advance(6_000);
    await rejected;
    assert.equal(engine.sandboxes.janitor.owned().length, 1);
    engine.world.controller.trouble.heal("shutdown");
    await engine.world.time.advance(60_000);
    assertNothingIsLeft(engine);
  });

  test("is removed if its caller left before, and it waits for a retry", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const caller = new AbortController();
    const input = podRequest(leased(lease.id));
    const hang = engine.faults.hang("run-pod-sandbox/make-files");
    const run = runPodSandbox(engine.sandboxes, input, caller.signal);
    await hang.arrived;
    caller.abort(new RuntimeError("canceled", "left"));
    await assert.rejects(run, { kind: "canceled" });
    hang.release();
    await settle();
    assert.equal(engine.sandboxes.inflightCreates.unclaimed().length, 1);
    lease[Symbol.dispose]();
    const retry = runPodSandbox(engine.sandboxes, input, never);
    await assert.rejects(retry, { kind: "failed-precondition" });
    await engine.world.time.advance(1_000);
    assertNothingIsLeft(engine);
  });

  test("is refused if the lease ends between the check and the first stage", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const { config } = podRequest(leased(lease.id)).request;
    assert.ok(config !== undefined);
    const needed = engine.leases.neededBy(config);
    lease[Symbol.dispose]();
    const { operations, log } = engine.sandboxes;
    const options = { name: "run-pod-sandbox", subject: "web", timeoutMs: 1_000, log } as const;
    using operation = operations.begin(options);
    using _create = needed?.addCreate("a", operation);
    await assert.rejects(operation.enter("write-record"), { kind: "aborted" });
  });
});

describe("RunPodSandbox refuses", () => {
  for (const value of ["", "0".repeat(32), "a\n".repeat(1000), "__proto__"]) {
    test(`the label of a lease that there is not: ${JSON.stringify(value.slice(0, 12))}`, async (t) => {
      const engine = new FakeEngine(t);
      await assert.rejects(engine.run(leased(value)), (error: Error) => {
        assert.ok(error instanceof RuntimeError);
        assert.equal(error.kind, "failed-precondition");
        assert.match(error.message, /^run pod sandbox "web_.*davit\.dev\/lease.*Leases\/Hold/);
        assert.ok(error.message.length < 500);
        return true;
      });
      assertNothingIsLeft(engine);
    });
  }

  test("the label of a lease that has ended, and of one that waits for its client", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    lease[Symbol.dispose]();
    await assert.rejects(engine.run(leased(lease.id)), { kind: "failed-precondition" });
    const second = engine.leases.hold(fresh);
    await engine.run(leased(second.id));
    const next = await engine.restart();
    await next.recover();
    await next.leases.begin();
    const run = next.run(leased(second.id, "more"));
    await assert.rejects(run, { kind: "failed-precondition" });
  });
});

describe("holding a lease", () => {
  test("is refused for an id that is held or that there is not, and beyond the limit", (t) => {
    const engine = new FakeEngine(t);
    const leases = [engine.leases.hold(fresh)];
    const [{ id } = { id: "" }] = leases;
    const hold = (of: string) => () => engine.leases.hold({ id: of, graceSeconds: 0 });
    assert.throws(hold(id), { kind: "already-exists", message: new RegExp(id) });
    assert.throws(hold("x".repeat(10_000)), { kind: "not-found", message: /^.{0,250}$/ });
    while (leases.length < maxLeases) leases.push(engine.leases.hold(fresh));
    assert.throws(hold(""), { kind: "resource-exhausted", message: /1024/ });
    leases.pop()?.[Symbol.dispose]();
    engine.leases.hold(fresh);
  });

  test("is interrupted when the daemon exits, without an end of its pods, and refused then", async (t) => {
    const engine = new FakeEngine(t);
    const lease = engine.leases.hold(fresh);
    const id = await engine.run(leased(lease.id));
    engine.leases.close(new RuntimeError("unavailable", "shutting down"));
    await assert.rejects(lease.interrupted, { kind: "unavailable" });
    lease[Symbol.dispose]();
    await engine.world.time.advance(takeOverMs * 2);
    assert.equal(engine.sandboxes.store.get(id).state.name, "ready");
    assert.throws(() => engine.leases.hold(fresh), { kind: "unavailable" });
  });
});

describe("after a restart", () => {
  async function restarted(engine: FakeEngine): Promise<FakeEngine> {
    const next = await engine.restart();
    await next.recover();
    await next.leases.begin();
    return next;
  }

  test("a lease that is held again in time keeps its pods, until it ends", async (t) => {
    const first = new FakeEngine(t);
    const { id } = first.leases.hold(fresh);
    await first.start(await first.run(leased(id)));
    await first.run(leased(id, "second"));
    const engine = await restarted(first);
    await engine.world.time.advance(takeOverMs - 1_000);
    const lease = engine.leases.hold({ id, graceSeconds: 0 });
    assert.deepEqual([lease.id, lease.pods], [id, 2]);
    assert.throws(() => engine.leases.hold({ id, graceSeconds: 0 }), { kind: "already-exists" });
    await engine.run(leased(id, "third"));
    await engine.world.time.advance(takeOverMs * 2);
    assert.equal([...engine.sandboxes.store.all()].length, 3);
    lease[Symbol.dispose]();
    await engine.world.time.advance(1_000);
    assertNothingIsLeft(engine);
  });

  test("a lease that nobody holds again ends, and no other pod does", async (t) => {
    const first = new FakeEngine(t);
    const { id } = first.leases.hold(fresh);
    await first.run(leased(id));
    await first.run(leased(id, "second"));
    const kept = await first.run();
    const engine = await restarted(first);
    await engine.world.time.advance(takeOverMs - 1_000);
    assert.equal([...engine.sandboxes.store.all()].length, 3);
    await engine.world.time.advance(2_000);
    assert.deepEqual(
      [...engine.sandboxes.store.all()].map((sandbox) => sandbox.id),
      [kept],
    );
    assert.throws(() => engine.leases.hold({ id, graceSeconds: 0 }), { kind: "not-found" });
  });

  test("a removal that the restart interrupted is finished", async (t) => {
    const first = new FakeEngine(t);
    const lease = first.leases.hold(fresh);
    await first.start(await first.run(leased(lease.id)));
    first.faults.fail("remove-pod-sandbox/shut-down");
    lease[Symbol.dispose]();
    await first.world.time.advance(100);
    const engine = await restarted(first);
    assert.equal([...engine.sandboxes.store.all()][0]?.state.name, "stopped");
    await engine.world.time.advance(takeOverMs + 1_000);
    assertNothingIsLeft(engine);
  });

  test("the pods of a lease from before a reboot are removed", async (t) => {
    const first = new FakeEngine(t);
    const { id } = first.leases.hold(fresh);
    await first.run(leased(id));
    await first.end();
    first.world.reboot();
    const engine = await restarted(first);
    await engine.world.time.advance(takeOverMs + 1_000);
    assert.deepEqual([...engine.sandboxes.store.all()], []);
  });
});
