import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { containerStatus } from "../container/index.ts";
import { execSync } from "../container/exec-sync.ts";
import { startContainer } from "../container/start.ts";
import { stopContainer } from "../container/stop.ts";
import { requestExec } from "../streaming/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { pause, resume } from "./index.ts";

const named = (name: string) => ({ metadata: { name, attempt: 0 } });

/** Since when a container is recorded as paused; undefined if it is not. */
function recorded(engine: FakeEngine, id: string): bigint | undefined {
  const state = engine.world.records.containers.rows.get(id)?.state;
  return state?.name === "running" ? state.pausedAtNs : undefined;
}

const pauseIn = (engine: FakeEngine, id: string, reclaimMemory = false, caller = never) =>
  pause(engine.containers, { id, reclaimMemory }, caller);

const resumeIn = (engine: FakeEngine, id: string) => resume(engine.containers, { id }, never);

describe("pause()", () => {
  test("freezes and records a container, also one that is paused already, and its status says since when", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    const nothing = { containerIds: [id], reclaimedBytes: 0n };
    assert.deepEqual(await pauseIn(engine, id.slice(0, 12)), nothing);
    assert.ok(engine.world.runtime.paused.has(id));
    const since = recorded(engine, id);
    assert.equal((since ?? 0n) / 1_000_000n, BigInt(engine.world.time.nowMs()));
    await engine.world.time.advance(1_000);
    assert.deepEqual(await pauseIn(engine, id), nothing);
    const { info } = await containerStatus(engine.containers, id, true);
    assert.equal(info?.pausedAtNs, since);
  });

  test("freezes all running containers of a pod, and no other", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const ids = [await engine.start(pod, named("a")), await engine.start(pod, named("b"))];
    const created = await engine.create(pod, named("c"));
    await stopContainer(engine.containers, await engine.start(pod, named("d")), 0n, never);
    const elsewhere = await engine.run({ metadata: { name: "other", namespace: "n", uid: "2" } });
    await engine.start(elsewhere);
    const { containerIds } = await pauseIn(engine, pod);
    assert.deepEqual(containerIds, ids.toSorted());
    assert.deepEqual(engine.world.runtime.paused, new Set(containerIds));
    // One that is started afterwards runs.
    await startContainer(engine.containers, created, never);
    assert.equal(recorded(engine, created), undefined);
  });

  test("resumes what it has paused when one container of a pod cannot be paused", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const [first = "", second = "", third = ""] = [
      await engine.start(pod, named("a")),
      await engine.start(pod, named("b")),
      await engine.start(pod, named("c")),
    ].toSorted();
    await pauseIn(engine, first);
    const before = recorded(engine, first);
    const { freezer } = engine.world.runtime;
    const { pause: freeze } = freezer;
    t.mock.method(freezer, "pause", async (id: string, signal: AbortSignal) => {
      if (id === third) throw new RuntimeError("deadline-exceeded", "it hangs in the kernel");
      await freeze(id, signal);
    });
    await assert.rejects(pauseIn(engine, pod), {
      kind: "deadline-exceeded",
      message: /^pause "[^"]+" \(stage freeze, 0 ms\): it hangs in the kernel$/,
    });
    assert.deepEqual(engine.world.runtime.paused, new Set([first]));
    const records = [first, second, third].map((id) => recorded(engine, id));
    assert.deepEqual(records, [before, undefined, undefined]);
  });

  test("is undone for a caller that leaves, and for a container that is stopped meanwhile", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    for (const leave of ["caller", "stop"] as const) {
      const hang = runtime.trouble.hang("pause");
      const caller = new AbortController();
      const pausing = pauseIn(engine, id, false, caller.signal);
      pausing.catch(() => undefined);
      await settle();
      assert.notEqual(recorded(engine, id), undefined);
      const ended = leave === "stop" ? stopContainer(engine.containers, id, 0n, never) : undefined;
      caller.abort(new RuntimeError("canceled", "the client has left"));
      await assert.rejects(pausing, leave === "caller" ? /the client has left/ : /being stopped/);
      hang.release();
      await ended;
      assert.equal(recorded(engine, id), undefined);
      assert.ok(!runtime.paused.has(id));
    }
    assert.equal(engine.containers.store.get(id).state.name, "exited");
  });

  test("refuses what is not there or does not run, and changes nothing", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const id = await engine.create(pod);
    const notRunning = { kind: "failed-precondition", message: /it is created, not running$/ };
    await assert.rejects(pauseIn(engine, id), notRunning);
    await assert.rejects(pauseIn(engine, pod), {
      kind: "failed-precondition",
      message: /no container of the pod is running$/,
    });
    await assert.rejects(resumeIn(engine, id), notRunning);
    await assert.rejects(pauseIn(engine, "none"), {
      kind: "not-found",
      message: 'find container or sandbox "none": there is none with this id',
    });
    await assert.rejects(pauseIn(engine, ""), { kind: "invalid-argument" });
    assert.deepEqual([...engine.world.runtime.paused], []);
  });

  test("waits for the start of a container of the pod that is in progress", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const pod = await engine.run();
    const id = await engine.create(pod);
    const hang = runtime.trouble.hang("start");
    const starting = startContainer(engine.containers, id, never);
    await settle();
    const pausing = pauseIn(engine, pod);
    await settle();
    hang.release();
    await starting;
    assert.deepEqual((await pausing).containerIds, [id]);
    assert.ok(runtime.paused.has(id));
  });

  test("of a pod leaves out a container that has just ended", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const pod = await engine.run();
    await engine.start(pod, named("a"));
    const other = await engine.start(pod, named("b"));
    const ended = new RuntimeError("failed-precondition", "it is not running");
    runtime.trouble.fail("pause", ended, 1);
    const { containerIds } = await pauseIn(engine, pod);
    assert.equal(containerIds.length, 1);
    assert.deepEqual(new Set(containerIds), runtime.paused);
    await resumeIn(engine, pod);
    runtime.trouble.fail("pause", ended);
    await assert.rejects(pauseIn(engine, pod), /all containers of the pod have ended$/);
    await assert.rejects(pauseIn(engine, other), {
      kind: "failed-precondition",
      message: /it is not running$/,
    });
    assert.equal(recorded(engine, other), undefined);
  });

  test("reclaims memory of all containers, and pauses none where that is not possible", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const pod = await engine.run();
    await engine.start(pod, named("a"));
    await engine.start(pod, named("b"));
    assert.equal((await pauseIn(engine, pod, true)).reclaimedBytes, 8192n);
    await resumeIn(engine, pod);
    runtime.trouble.fail("reclaimMemory", new RuntimeError("failed-precondition", "no v2"), 1);
    await assert.rejects(pauseIn(engine, pod, true), { kind: "failed-precondition" });
    assert.deepEqual([...runtime.paused], []);
  });

  test("is told in the log when it cannot be undone, and the container is shown as paused", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.trouble.fail("reclaimMemory");
    runtime.trouble.fail("resume");
    const pausing = pauseIn(engine, id, true);
    pausing.catch(() => undefined);
    await time.advance(10_000);
    await assert.rejects(pausing);
    assert.match(
      engine.logged("error").join("\n"),
      /pause was not undone: cannot resume its containers/,
    );
    assert.notEqual(recorded(engine, id), undefined);
  });
});

describe("resume()", () => {
  test("lets all containers of a pod run on, also those that something else has frozen; it is idempotent", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const pod = await engine.run();
    const ids = [await engine.start(pod, named("a")), await engine.start(pod, named("b"))];
    const [first = "", second = ""] = ids;
    await pauseIn(engine, first);
    runtime.paused.add(second);
    for (let twice = 0; twice < 2; twice++) {
      assert.deepEqual(await resumeIn(engine, pod), ids.toSorted());
      assert.deepEqual([...runtime.paused], []);
      assert.deepEqual(
        ids.map((id) => recorded(engine, id)),
        [undefined, undefined],
      );
    }
  });

  test("keeps the record of one that cannot be resumed, and resumes the others", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const pod = await engine.run();
    const ids = [await engine.start(pod, named("a")), await engine.start(pod, named("b"))];
    await pauseIn(engine, pod);
    runtime.trouble.fail("resume", new RuntimeError("unavailable", "its shim hangs"), 1);
    await assert.rejects(resumeIn(engine, pod), {
      kind: "unavailable",
      message: /its shim hangs$/,
    });
    const left = ids.filter((id) => recorded(engine, id) !== undefined);
    assert.deepEqual([...runtime.paused], left);
    assert.equal(left.length, 1);
    await resumeIn(engine, pod);
    assert.deepEqual([...runtime.paused], []);
  });
});

describe("a paused container", () => {
  test("runs no command until it is resumed", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    const command = { containerId: id, command: ["true"], timeoutSeconds: 1n };
    await pauseIn(engine, id);
    const refused = {
      kind: "failed-precondition",
      message: `exec in container "${id}": it is paused; resume it with "davit resume ${id}"`,
    };
    await assert.rejects(execSync(engine.containers, command, never), refused);
    const { containers, sandboxes } = engine;
    const url = () => Promise.resolve("url");
    const urls = { exec: url, attach: url, portForward: url };
    const choice = { stdin: false, stdout: true, stderr: true, terminal: false };
    const streaming = { containers, sandboxes, urls };
    await assert.rejects(requestExec(streaming, command, choice), refused);
    await resumeIn(engine, id);
    assert.equal((await execSync(engine.containers, command, never)).exitCode, 0);
    assert.equal(await requestExec(streaming, command, choice), "url");
  });

  test("is resumed by a stop for its grace period", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    await pauseIn(engine, id);
    runtime.stubborn.add(id);
    const stop = stopContainer(engine.containers, id, 30n, never);
    await settle();
    assert.deepEqual(runtime.signals.get(id), [15]);
    assert.equal(recorded(engine, id), undefined);
    await time.advance(30_000);
    await stop;
    assert.equal(engine.containers.store.get(id).state.name, "exited");
  });

  for (const frozen of [true, false]) {
    test(`is paused after a restart if it was ${frozen ? "frozen" : "not frozen yet when the daemon ended"}`, async (t) => {
      const engine = new FakeEngine(t);
      const { runtime } = engine.world;
      const id = await engine.start(await engine.run());
      await pauseIn(engine, id);
      const since = recorded(engine, id);
      if (!frozen) runtime.paused.delete(id);
      const next = await engine.restart();
      await next.recover();
      assert.ok(runtime.paused.has(id));
      assert.equal(recorded(next, id), since);
      assert.deepEqual(await resumeIn(next, id), [id]);
      assert.ok(!runtime.paused.has(id));
    });
  }

  test("stays recorded as paused after a restart if its runtime does not answer", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    await pauseIn(engine, id);
    const next = await engine.restart();
    const { freezer } = runtime;
    t.mock.method(freezer, "isPaused", () =>
      Promise.reject(new RuntimeError("unavailable", "it hangs")),
    );
    await next.recover();
    assert.notEqual(recorded(next, id), undefined);
    assert.ok(next.containers.store.isListed(id));
    assert.deepEqual(next.logged("warn"), ["failed to pause a container again; it may run"]);
  });

  test("that cannot be paused again after a restart runs, and the log tells", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    await pauseIn(engine, id);
    runtime.paused.delete(id);
    const next = await engine.restart();
    runtime.trouble.fail("pause", undefined, 1);
    await next.recover();
    assert.equal(recorded(next, id), undefined);
    assert.deepEqual(next.logged("warn"), ["failed to pause a container again; it runs"]);
  });
});
