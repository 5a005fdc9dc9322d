import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { isKind, RuntimeError } from "../../base/errors.ts";
import { stages } from "../../core/operation/index.ts";
import { execSync, removeContainer, startContainer, stopContainer } from "../container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import {
  capturePod,
  checkpointContainer,
  checkpointPod,
  type ContainerCheckpoint,
  type PodCheckpoint,
  sweepCheckpoints,
} from "./index.ts";

const out = "/out";
const location = "/out/app.tar";

/** An engine with a pod of two running containers, and the directory of a client. */
async function setUp(t: TestContext) {
  const engine = new FakeEngine(t);
  engine.world.checkpoints.directories.add(out);
  const pod = await engine.run();
  const app = await engine.start(pod);
  const side = await engine.start(pod, { metadata: { name: "side", attempt: 0 } });
  const ofContainer = (
    request: Partial<ContainerCheckpoint> = {},
    caller: AbortSignal = never,
  ): Promise<void> => {
    const given = { containerId: app, location, timeoutSeconds: 0n, ...request };
    return checkpointContainer(engine.containers, given, caller);
  };
  const ofPod = (
    request: Partial<PodCheckpoint> = {},
    caller: AbortSignal = never,
  ): Promise<void> => {
    const deadlineMs = engine.world.time.nowMs() + 30_000;
    const given = { sandboxId: pod, containerIds: [app, side], directory: out, options: {} };
    return checkpointPod(engine.containers, { ...given, deadlineMs, ...request }, caller);
  };
  return { engine, pod, app, side, ofContainer, ofPod };
}

/** Nothing is paused, noted or written, and no operation runs. */
function assertUnchanged({ world, containers }: FakeEngine): void {
  const { checkpoints, runtime } = world;
  assert.deepEqual([...runtime.paused], []);
  assert.deepEqual([...checkpoints.directories], [out]);
  assert.deepEqual([...checkpoints.files], []);
  assert.deepEqual(containers.operations.views(), []);
}

function noted({ containers }: FakeEngine): readonly string[] {
  return [...containers.store.all()].flatMap(({ id, pausedForCheckpoint }) =>
    pausedForCheckpoint === undefined ? [] : [id],
  );
}

function kind(expected: Parameters<typeof isKind>[1], message: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof RuntimeError && isKind(error, expected), String(error));
    assert.match(error.message, message);
    return true;
  };
}

describe("checkpointContainer()", () => {
  test("captures a paused container, which runs when it returns, into one file", async (t) => {
    const { engine, app, ofContainer } = await setUp(t);
    const { checkpoints, runtime } = engine.world;
    let whilePaused: readonly string[] = [];
    checkpoints.onComplete = ({ container, runtimePath }) => {
      whilePaused = [...runtime.paused];
      assert.deepEqual([container.id, runtimePath], [app, "/bin/crun"]);
      assert.equal(engine.world.records.containers.rows.get(app)?.pausedForCheckpoint, true);
    };
    await ofContainer();
    assert.deepEqual(whilePaused, [app]);
    assert.deepEqual([...runtime.paused], []);
    assert.deepEqual(noted(engine), []);
    assert.deepEqual([...checkpoints.files], [location]);
    assert.deepEqual([...checkpoints.directories], [out]);
    assert.deepEqual(runtime.captured.get(app), {
      images: `/own/${app}/checkpoint`,
      work: `/own/${app}`,
      closeTcp: true,
      leaveRunning: true,
    });
    const [past] = engine.containers.operations.history.of(app).slice(-1);
    assert.deepEqual(
      past?.stages.map(({ stage }) => stage),
      stages["checkpoint-container"],
    );
  });

  test("changes nothing for a request that cannot be carried out", async (t) => {
    const { engine, pod, ofContainer } = await setUp(t);
    const created = await engine.create(pod, { metadata: { name: "new", attempt: 0 } });
    engine.world.checkpoints.files.add("/out/old.tar");
    const rows = [
      [{ containerId: "0123" }, "not-found", /find container "0123"/],
      [{ containerId: created }, "failed-precondition", /it is created, not running/],
      [{ location: "app.tar" }, "invalid-argument", /"app.tar" is not the absolute path of a file/],
      [{ location: "/out/" }, "invalid-argument", /not the absolute path/],
      [{ location: "/out/a\0.tar" }, "invalid-argument", /not the absolute path/],
      [{ location: "/none/app.tar" }, "invalid-argument", /does not exist/],
      [{ location: "/out/old.tar" }, "already-exists", /old.tar/],
      [{ timeoutSeconds: -1n }, "invalid-argument", /timeout is -1 s/],
    ] as const;
    for (const [request, expected, message] of rows) {
      await assert.rejects(ofContainer(request), kind(expected, message));
    }
    engine.world.checkpoints.files.delete("/out/old.tar");
    assertUnchanged(engine);
    assert.deepEqual(engine.world.runtime.captured.size, 0);
  });

  test("is unimplemented where the runtime captures nothing", async (t) => {
    const { engine, ofContainer } = await setUp(t);
    engine.world.runtime.obstacles.capture = "its shim is unknown";
    await assert.rejects(ofContainer(), kind("unimplemented", /: its shim is unknown$/));
    assertUnchanged(engine);
  });

  for (const stage of stages["checkpoint-container"]) {
    test(`leaves nothing when it fails at ${stage}`, async (t) => {
      const { engine, ofContainer } = await setUp(t);
      engine.faults.fail(`checkpoint-container/${stage}`);
      await assert.rejects(ofContainer(), kind("internal", new RegExp(`stage ${stage}`)));
      assertUnchanged(engine);
      assert.deepEqual(noted(engine), []);
    });
  }

  test("resumes the container when its capture fails, and again when it is frozen late", async (t) => {
    const { engine, app, ofContainer } = await setUp(t);
    const { runtime, time } = engine.world;
    runtime.trouble.fail("capture", new RuntimeError("failed-precondition", "a lock is held"), 1);
    await assert.rejects(ofContainer(), kind("failed-precondition", /a lock is held/));
    await settle();
    assertUnchanged(engine);
    // What captured it is still there, and freezes the cgroup again at its end.
    runtime.paused.add(app);
    await time.advance(10_000);
    assert.deepEqual([...runtime.paused], []);
    await time.advance(700_000);
    assert.deepEqual(noted(engine), []);
  });

  test("ends at its timeout, before its caller's deadline, and when its caller leaves", async (t) => {
    const { engine, ofContainer } = await setUp(t);
    const { runtime, time } = engine.world;
    const hang = runtime.trouble.hang("capture");
    for (const [request, message, afterMs] of [
      [{ timeoutSeconds: 3n }, /took longer than 3 s/, 3_100],
      [{ timeoutSeconds: 10n, deadlineMs: time.nowMs() + 13_100 }, /took longer than 8 s/, 8_500],
    ] as const) {
      const timedOut = assert.rejects(ofContainer(request), kind("deadline-exceeded", message));
      await hang.arrived;
      await settle();
      await time.advance(afterMs);
      await timedOut;
      assertUnchanged(engine);
    }

    const caller = new AbortController();
    const left = ofContainer({}, caller.signal);
    const gone = assert.rejects(left, kind("canceled", /the client left/));
    await settle();
    caller.abort(new RuntimeError("canceled", "the client left"));
    await gone;
    assertUnchanged(engine);
  });

  test("leaves a container paused that was paused before", async (t) => {
    const { engine, app, ofContainer } = await setUp(t);
    const { runtime } = engine.world;
    await runtime.freezer.pause(app, never);
    await ofContainer();
    assert.deepEqual([...runtime.paused], [app]);
    assert.deepEqual(noted(engine), []);
  });

  test("no command begins meanwhile, and one does afterwards", async (t) => {
    const { engine, app, side, ofContainer } = await setUp(t);
    const run = (containerId: string) =>
      execSync(engine.containers, { containerId, command: ["true"], timeoutSeconds: 5n }, never);
    const hang = engine.world.runtime.trouble.hang("capture");
    const made = ofContainer();
    await hang.arrived;
    await assert.rejects(run(app), kind("failed-precondition", /a checkpoint of it is being made/));
    await run(side);
    hang.release();
    await made;
    await run(app);
  });

  test("a stop and a removal end it", async (t) => {
    const { engine, app, side, ofContainer } = await setUp(t);
    const hang = engine.world.runtime.trouble.hang("capture");
    const first = assert.rejects(ofContainer(), kind("aborted", /being stopped/));
    await hang.arrived;
    await stopContainer(engine.containers, app, 0n, never);
    await first;
    assert.equal(engine.containers.store.get(app).state.name, "exited");
    const second = assert.rejects(ofContainer({ containerId: side }), kind("aborted", /removed/));
    await settle();
    await removeContainer(engine.containers, side, never);
    await second;
    assertUnchanged(engine);
  });

  test("tries again to resume a container that cannot be resumed", async (t) => {
    const { engine, ofContainer } = await setUp(t);
    const { runtime, time, checkpoints } = engine.world;
    runtime.trouble.fail("resume", new RuntimeError("internal", "no cgroup"), 1);
    await assert.rejects(ofContainer(), kind("internal", /resume container .*no cgroup/));
    assert.equal(runtime.paused.size, 1);
    await time.advance(2_000);
    assert.equal(runtime.paused.size, 0);
    assert.deepEqual([...checkpoints.files], []);
  });

  test("the next daemon resumes what this one has paused", async (t) => {
    const { engine, app, side, ofContainer } = await setUp(t);
    const { runtime, time } = engine.world;
    await runtime.freezer.pause(side, never);
    const hang = engine.faults.hang("checkpoint-container/capture-files");
    ofContainer().catch(() => undefined);
    await hang.arrived;
    const row = engine.world.records.containers.rows.get(app);
    assert.equal(row?.pausedForCheckpoint, true);
    const next = await engine.restart();
    // The end of the engine has resumed it; a crash does not.
    runtime.paused.add(app);
    engine.world.records.containers.rows.set(app, row);
    await next.recover();
    await settle();
    assert.deepEqual([...runtime.paused], [side]);
    await time.advance(700_000);
    assert.deepEqual(noted(next), []);
  });
});

test("sweepCheckpoints() removes what belongs to no container", async (t) => {
  const { engine, pod, app } = await setUp(t);
  const { directories } = engine.world.checkpoints;
  const directory = `/restores/${pod}/app`;
  engine.containers.store.update(app, (now) => ({
    ...now,
    restore: { directory, owned: true, closeTcp: true },
  }));
  for (const path of [directory, "/own/0123", "/restores/0123"]) directories.add(path);
  await sweepCheckpoints(engine.containers, new Set(["aside"]));
  assert.deepEqual([...directories], [out, directory, "/restores/0123"]);
  await sweepCheckpoints(engine.containers, new Set());
  assert.deepEqual([...directories], [out, directory]);
  assert.equal(engine.logged("warn").length, 2);
});

describe("checkpointPod()", () => {
  test("captures all containers while all are paused", async (t) => {
    const { engine, app, side, ofPod } = await setUp(t);
    const { runtime, checkpoints } = engine.world;
    const seen: number[] = [];
    checkpoints.onComplete = () => seen.push(runtime.paused.size, runtime.captured.size);
    await ofPod({ options: { "davit.close-tcp": "true" } });
    assert.deepEqual(seen, [2, 2, 2, 2]);
    assert.deepEqual([...runtime.paused], []);
    assert.deepEqual(noted(engine), []);
    assert.deepEqual(
      [...checkpoints.completed]
        .map(([directory, { container }]) => [directory, container.id])
        .toSorted(),
      [
        ["/out/containers/app", app],
        ["/out/containers/side", side],
      ],
    );
    assert.equal(runtime.captured.get(side)?.closeTcp, true);
    assert.deepEqual([...checkpoints.files], ["/out/pod.json"]);
  });

  test("refuses a request that it cannot carry out, and writes nothing", async (t) => {
    const { engine, app, side, ofPod } = await setUp(t);
    const other = await engine.run({
      metadata: { name: "db", namespace: "", uid: "", attempt: 0 },
    });
    const foreign = await engine.start(other, { metadata: { name: "db", attempt: 0 } });
    await stopContainer(engine.containers, side, 0n, never);
    const rows = [
      [{ sandboxId: "0123" }, "not-found", /sandbox "0123"/],
      [{ containerIds: [] }, "invalid-argument", /names no containers/],
      [{ containerIds: [app, app] }, "invalid-argument", /is named twice/],
      [{ containerIds: [app, foreign] }, "invalid-argument", /belongs to another pod/],
      [{ containerIds: [app, side] }, "failed-precondition", /it is exited, not running/],
      [{ containerIds: [app, "0123"] }, "not-found", /container "0123"/],
      [{ directory: "out" }, "invalid-argument", /"out" is not an absolute path/],
      [{ directory: "/none" }, "invalid-argument", /not an empty directory/],
      [{ options: { leave: "x", stop: "y" } }, "invalid-argument", /option "leave", "stop";/],
      [{ options: { "davit.close-tcp": "1" } }, "invalid-argument", /set it to "true" or "false"/],
      [{ deadlineMs: undefined }, "invalid-argument", /the call has no deadline/],
    ] as const;
    for (const [request, expected, message] of rows) {
      const given = { containerIds: [app], ...request };
      await assert.rejects(ofPod(given), kind(expected, message));
    }
    assertUnchanged(engine);
    await ofPod({ containerIds: [app] });
  });

  test("is unimplemented where its pods could not be restored", async (t) => {
    const { engine, ofPod } = await setUp(t);
    engine.world.runtime.obstacles.restore = "its shim cannot";
    const refused = /: its shim cannot; or checkpoint its containers one by one/;
    await assert.rejects(ofPod(), kind("unimplemented", refused));
    assertUnchanged(engine);
  });

  test("refuses a pod that is not ready, and names that cannot be those of files", async (t) => {
    const { engine, pod, app, ofPod } = await setUp(t);
    for (const name of ["..", "a/b", ".x"]) {
      const odd = await engine.start(pod, { metadata: { name, attempt: 0 } });
      const refused = kind("invalid-argument", /cannot be that of a directory/);
      await assert.rejects(ofPod({ containerIds: [odd] }), refused);
    }
    const again = await engine.start(pod, { metadata: { name: "app", attempt: 1 } });
    const twice = kind("invalid-argument", /two of the containers have the name "app"/);
    await assert.rejects(ofPod({ containerIds: [app, again] }), twice);
    engine.sandboxes.store.update(pod, (now) => ({
      ...now,
      state: { name: "dead", reason: "gone", atNs: 1n },
    }));
    await assert.rejects(ofPod(), kind("failed-precondition", /it is dead, not ready/));
    assertUnchanged(engine);
  });

  for (const stage of stages["checkpoint-pod"]) {
    test(`leaves nothing when it fails at ${stage}`, async (t) => {
      const { engine, ofPod } = await setUp(t);
      engine.faults.fail(`checkpoint-pod/${stage}`);
      await assert.rejects(ofPod(), kind("internal", new RegExp(`stage ${stage}`)));
      assertUnchanged(engine);
      assert.deepEqual(noted(engine), []);
    });
  }

  test("resumes all when one cannot be paused", async (t) => {
    const { engine, ofPod } = await setUp(t);
    engine.world.runtime.trouble.fail(
      "pause",
      new RuntimeError("deadline-exceeded", "it hangs"),
      1,
    );
    await assert.rejects(ofPod(), kind("deadline-exceeded", /it hangs/));
    assertUnchanged(engine);
    assert.deepEqual(noted(engine), []);
  });

  test("is done before the deadline of its caller", async (t) => {
    const { engine, ofPod } = await setUp(t);
    const { runtime, time } = engine.world;
    const hang = runtime.trouble.hang("capture");
    const call = assert.rejects(ofPod(), kind("deadline-exceeded", /took longer than 26 s/));
    await hang.arrived;
    assert.equal(runtime.paused.size, 2);
    await time.advance(28_500);
    await call;
    assertUnchanged(engine);
  });

  test("two of one pod come one after the other", async (t) => {
    const { engine, pod, app, side } = await setUp(t);
    engine.world.checkpoints.directories.add("/other");
    const capture = (containerIds: readonly string[], directory: string): Promise<unknown> => {
      const request = { sandboxId: pod, closeTcp: false, containerIds, directory };
      return capturePod(engine.containers, request, never);
    };
    await Promise.all([capture([app, side], out), capture([side, app], "/other")]);
    assert.deepEqual([...engine.world.runtime.paused], []);
    assert.deepEqual([...engine.world.checkpoints.files].toSorted(), [
      "/other/pod.json",
      "/out/pod.json",
    ]);
  });

  test("a start in the pod meanwhile is not delayed", async (t) => {
    const { engine, pod, ofPod } = await setUp(t);
    const hang = engine.world.runtime.trouble.hang("capture");
    const call = ofPod();
    await hang.arrived;
    const created = await engine.create(pod, { metadata: { name: "new", attempt: 0 } });
    await startContainer(engine.containers, created, never);
    hang.release();
    await call;
  });
});
