import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { stopPodSandbox } from "../sandbox/index.ts";
import { removeContainer } from "./remove.ts";
import { startContainer } from "./start.ts";
import { stopContainer } from "./stop.ts";

function stateOf(engine: FakeEngine, id: string) {
  return engine.containers.store.get(id).state;
}

const ownStages = ["build-spec", "make-bundle", "create-process", "start-process"] as const;

describe("startContainer()", () => {
  test("runs the container as configured, and waits for its end", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run({ logDirectory: "/var/log/pods/web" });
    const config = { tty: true, stdin: true, stdinOnce: true, logPath: "app/0.log" };
    const id = await engine.create(pod, config);
    await startContainer(engine.containers, id.slice(0, 12), never);
    const state = stateOf(engine, id);
    assert.ok(state.name === "running" && state.process.pid === 5001 && state.startedAtNs > 0n);
    assert.deepEqual(engine.world.records.containers.rows.get(id)?.state, state);
    const {
      spec = "",
      handler,
      beforeCommand: _ask,
      ...bundle
    } = engine.world.runtime.bundleOf(id) ?? {};
    assert.deepEqual(bundle, {
      id,
      sandboxId: pod,
      runtimePath: "/bin/crun",
      logPath: "/var/log/pods/web/app/0.log",
      cgroupPath: `/davit/${pod}/${id}`,
      terminal: true,
      stdin: true,
      stdinOnce: true,
    });
    assert.equal(handler?.name, "crun");
    assert.partialDeepStrictEqual(spec, { rootfs: `/roots/${id}/merged` });
    engine.world.runtime.exit(id, { exitCode: 0 });
    await settle();
    assert.equal(stateOf(engine, id).name, "exited");
  });

  test("leaves the container created when the daemon ends in mid-start", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const end = new RuntimeError("unavailable", "davit is shutting down");
    const starting = startContainer(engine.containers, id, never);
    engine.containers.operations.abortAll(end);
    await assert.rejects(starting, { kind: "unavailable", message: /davit is shutting down/ });
    assert.equal(stateOf(engine, id).name, "created");
  });

  test("writes no log if the request has no log path", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    assert.equal(engine.world.runtime.bundleOf(id)?.logPath, undefined);
  });

  test("prewarms the cgroup migration first", async (t) => {
    const calls: string[] = [];
    const prewarmCgroupMigration = () => void calls.push("announced");
    const engine = new FakeEngine(t, { containers: { prewarmCgroupMigration } });
    await engine.start(await engine.run());
    assert.deepEqual(calls, ["announced"]);
  });

  test("passes the process of the target container to the spec while that is running", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const target = await engine.start(pod);
    const options = { pid: NamespaceMode.TARGET, targetId: target };
    const debugOf = (attempt: number) => ({
      metadata: { name: "debug", attempt },
      linux: { securityContext: { namespaceOptions: options } },
    });
    const id = await engine.start(pod, debugOf(0));
    assert.partialDeepStrictEqual(engine.world.runtime.bundleOf(id)?.spec, { targetPid: 5001 });
    await stopContainer(engine.containers, target, 0n, never);
    const other = await engine.start(pod, debugOf(1));
    assert.partialDeepStrictEqual(engine.world.runtime.bundleOf(other)?.spec, {
      targetPid: undefined,
    });
  });

  test("rejects a container that does not exist, is running, or has exited", async (t) => {
    const engine = new FakeEngine(t);
    await assert.rejects(startContainer(engine.containers, "none", never), { kind: "not-found" });
    const id = await engine.start(await engine.run());
    const again = () => startContainer(engine.containers, id, never);
    await assert.rejects(again(), { kind: "failed-precondition", message: /is running/ });
    await stopContainer(engine.containers, id, 0n, never);
    await assert.rejects(again(), { kind: "failed-precondition", message: /is exited/ });
    assert.equal(stateOf(engine, id).name, "exited");
  });

  test("rejects a container whose sandbox is not ready, and leaves it created", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const id = await engine.create(pod);
    await stopPodSandbox(engine.sandboxes, pod, never);
    const start = startContainer(engine.containers, id, never);
    const message = /is not ready; run a new sandbox/;
    await assert.rejects(start, { kind: "failed-precondition", message });
    assert.equal(stateOf(engine, id).name, "created");
  });
});

describe("startContainer() that fails", () => {
  for (const stage of ownStages) {
    test(`at stage ${stage} makes it exited: StartError, 128, and nothing runs`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.create(await engine.run());
      engine.faults.fail(`start-container/${stage}`);
      const start = startContainer(engine.containers, id, never);
      const message = new RegExp(`start container "${id}" \\(stage ${stage}, .*fault at`);
      await assert.rejects(start, { kind: "internal", message });
      const state = stateOf(engine, id);
      assert.ok(state.name === "exited");
      assert.deepEqual([state.reason, state.exitCode, state.startedAtNs], ["StartError", 128, 0n]);
      assert.ok(state.finishedAtNs > 0n);
      assert.match(state.message, message);
      assert.deepEqual(engine.world.records.containers.rows.get(id)?.state, state);
      assert.deepEqual(engine.world.host.idsOf("process"), []);
      assert.deepEqual(engine.world.host.idsOf("bundle"), []);
    });
  }

  test("reports the error of the runtime", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const words = new RuntimeError("not-found", 'executable file "/nope" not found');
    engine.world.runtime.trouble.fail("start", words, 1);
    const start = startContainer(engine.containers, id, never);
    await assert.rejects(start, { kind: "not-found", message: /"\/nope" not found/ });
    const state = stateOf(engine, id);
    assert.ok(state.name === "exited" && state.message.includes('"/nope" not found'));
  });

  test("at its deadline removes what it had made", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const hang = engine.world.runtime.trouble.hang("start");
    const start = startContainer(engine.containers, id, never);
    const rejected = assert.rejects(start, { kind: "deadline-exceeded", message: /than 120 s/ });
    await hang.arrived;
    await engine.world.time.advance(120_000);
    await rejected;
    assert.deepEqual(engine.world.host.idsOf("process"), []);
    assert.equal(stateOf(engine, id).name, "exited");
  });

  test("because it cannot be recorded leaves no process, and can be retried", async (t) => {
    const engine = new FakeEngine(t);
    const { host, records } = engine.world;
    const id = await engine.create(await engine.run());
    const hang = engine.faults.hang("start-container/finish-record");
    const start = startContainer(engine.containers, id, never);
    await hang.arrived;
    assert.deepEqual(host.idsOf("process"), [id]);
    records.full = true;
    hang.release();
    await assert.rejects(start, { kind: "resource-exhausted", message: /stage finish-record/ });
    assert.deepEqual([host.idsOf("process"), host.idsOf("bundle")], [[], []]);
    // An end is never refused: it is true now and written later.
    assert.equal(stateOf(engine, id).name, "exited");
    assert.equal(records.containers.rows.get(id)?.state.name, "created");
    records.full = false;
    await engine.world.time.advance(6_000);
    assert.equal(records.containers.rows.get(id)?.state.name, "exited");
  });

  test("after it was recorded exits like any container", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    engine.faults.fail("start-container/answer");
    await assert.rejects(startContainer(engine.containers, id, never), /fault at/);
    assert.equal(stateOf(engine, id).name, "running");
    engine.world.runtime.exit(id, { exitCode: 3 });
    await settle();
    const state = stateOf(engine, id);
    assert.ok(state.name === "exited" && state.exitCode === 3 && state.reason === "Error");
  });

  test("logs that it cannot be recorded", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    engine.faults.fail("start-container/build-spec");
    t.mock.method(engine.containers.store, "update", () => {
      throw new Error("the database is malformed");
    });
    await assert.rejects(startContainer(engine.containers, id, never), /fault at/);
    assert.ok(engine.logged("error").includes("failed to record a failed start"));
  });
});

describe("startContainer(), concurrently with other calls,", () => {
  test("gives up when the container is stopped, and nothing runs", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const hang = engine.world.runtime.trouble.hang("start");
    const start = startContainer(engine.containers, id, never);
    const rejected = assert.rejects(start, { kind: "aborted", message: /is being stopped/ });
    await hang.arrived;
    await stopContainer(engine.containers, id, 30n, never);
    await rejected;
    assert.equal(stateOf(engine, id).name, "exited");
    assert.deepEqual(engine.world.host.idsOf("process"), []);
  });

  test("gives up when the container is removed, and nothing is left", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const hang = engine.world.runtime.trouble.hang("start");
    const start = startContainer(engine.containers, id, never);
    const rejected = assert.rejects(start, { kind: "aborted", message: /is being removed/ });
    await hang.arrived;
    await removeContainer(engine.containers, id, never);
    await rejected;
    assert.equal(engine.containers.store.peek(id), undefined);
    assert.deepEqual(engine.world.host.idsOf("root"), []);
  });

  test("does not begin while the container is being removed", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const hang = engine.world.roots.trouble.hang("remove");
    const removal = removeContainer(engine.containers, id, never);
    await hang.arrived;
    const start = startContainer(engine.containers, id, never);
    await assert.rejects(start, { kind: "failed-precondition", message: /is being removed/ });
    hang.release();
    await removal;
  });

  test("starts once when it is called twice", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const both = [1, 2].map(() => startContainer(engine.containers, id, never));
    const [first, second] = await Promise.allSettled(both);
    assert.deepEqual([first?.status, second?.status], ["fulfilled", "rejected"]);
    assert.equal(stateOf(engine, id).name, "running");
  });

  test("stops waiting for the lock when its caller disconnects", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    const turn = await engine.containers.locks.acquire(id);
    const caller = new AbortController();
    const start = startContainer(engine.containers, id, caller.signal);
    caller.abort(new Error("the caller left"));
    await assert.rejects(start, /the caller left/);
    turn[Symbol.dispose]();
    await startContainer(engine.containers, id, never);
  });
});
