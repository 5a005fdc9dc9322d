import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { FakeEngine } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { completeRotations, reopenContainerLog } from "./reopen-log.ts";

describe("reopenContainerLog()", () => {
  test("reopens the log at its path", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run({ logDirectory: "/var/log/pods/web" });
    const id = await engine.start(pod, { logPath: "app/0.log" });
    await reopenContainerLog(engine.containers, id.slice(0, 12));
    assert.deepEqual([...engine.world.runtime.reopened], [["/var/log/pods/web/app/0.log", 1]]);
  });

  test("does nothing without a log", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    await reopenContainerLog(engine.containers, id);
    assert.equal(engine.world.runtime.reopened.size, 0);
  });

  test("fails at a stage without a report of a rotation", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run({ logDirectory: "/logs" }), {
      logPath: "0.log",
    });
    engine.faults.fail("reopen-log/publish-log");
    const call = reopenContainerLog(engine.containers, id);
    await assert.rejects(call, /^.*reopen log .*stage publish-log.*fault at/);
    assert.deepEqual(engine.world.logs.rotations, []);
  });

  test("rejects a container that is not running", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    await assert.rejects(reopenContainerLog(engine.containers, id), {
      kind: "failed-precondition",
      message: /is created, not running/,
    });
    await assert.rejects(reopenContainerLog(engine.containers, "none"), { kind: "not-found" });
  });
});

describe("completeRotations()", () => {
  test("completes those of running containers, and tells the readers of their logs", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, logs } = engine.world;
    const pod = await engine.run({ logDirectory: "/logs" });
    const startOf = (name: string): Promise<string> =>
      engine.start(pod, { metadata: { name }, logPath: `${name}.log` });
    const [stuck, ended] = [await startOf("stuck"), await startOf("ended")];
    await startOf("whole");
    for (const id of [stuck, ended]) runtime.stuckRotations.add(id);
    runtime.exit(ended);
    await settle();
    completeRotations(engine.containers);
    await settle();
    assert.deepEqual([...runtime.stuckRotations], [ended]);
    assert.deepEqual(logs.rotations, ["/logs/stuck.log"]);
  });

  test("logs what fails", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime } = engine.world;
    const pod = await engine.run({ logDirectory: "/logs" });
    const id = await engine.start(pod, { logPath: "0.log" });
    runtime.trouble.fail("completeRotation", new RuntimeError("internal", "no disk"), 1);
    completeRotations(engine.containers);
    await settle();
    const line = `complete the rotation of the log of container "${id}": no disk`;
    assert.ok(engine.logged("error").includes(line));
  });
});
