import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { execSync } from "./exec-sync.ts";
import { stopContainer } from "./stop.ts";

function exec(
  engine: FakeEngine,
  containerId: string,
  input: { readonly command?: readonly string[]; readonly timeoutSeconds?: bigint } = {},
  caller = never,
) {
  const { command = ["true"], timeoutSeconds = 0n } = input;
  return execSync(engine.containers, { containerId, command, timeoutSeconds }, caller);
}

describe("execSync()", () => {
  test("returns output and exit code of the command, built from the started spec", async (t) => {
    const calls: string[] = [];
    const prewarmCgroupMigration = () => void calls.push("announced");
    const engine = new FakeEngine(t, { containers: { prewarmCgroupMigration } });
    const { runtime } = engine.world;
    const id = await engine.start(await engine.run());
    runtime.result = { stdout: Buffer.from("a"), stderr: Buffer.from("b"), exitCode: 3 };
    const result = await exec(engine, id.slice(0, 12), { command: ["sh", "-c", "exit 3"] });
    assert.equal(result, runtime.result);
    assert.deepEqual(runtime.command?.process, {
      args: ["sh", "-c", "exit 3"],
      terminal: false,
      started: true,
    });
    assert.deepEqual(calls, ["announced", "announced"]);
  });

  test("rejects an empty command, and a container that is not running", async (t) => {
    const engine = new FakeEngine(t);
    await assert.rejects(exec(engine, "none"), { kind: "not-found" });
    const pod = await engine.run();
    const created = await engine.create(pod);
    const message = /exec in container .* is created, not running/;
    await assert.rejects(exec(engine, created), { kind: "failed-precondition", message });
    const id = await engine.start(pod, { metadata: { name: "b", attempt: 0 } });
    await assert.rejects(exec(engine, id, { command: [] }), {
      kind: "invalid-argument",
      message: /command is empty/,
    });
    await stopContainer(engine.containers, id, 0n, never);
    await assert.rejects(exec(engine, id), { kind: "failed-precondition", message: /is exited/ });
  });

  test("ends at its timeout, and never without one", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run());
    const hang = runtime.trouble.hang("execSync");
    const limited = exec(engine, id, { timeoutSeconds: 5n });
    const rejected = assert.rejects(limited, { kind: "deadline-exceeded", message: /than 5 s/ });
    await hang.arrived;
    await time.advance(5_000);
    await rejected;
    const unlimited = exec(engine, id);
    await time.advance(3_600_000);
    hang.release();
    assert.equal((await unlimited).exitCode, 0);
  });

  test("ends with its caller", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    const hang = engine.world.runtime.trouble.hang("execSync");
    const caller = new AbortController();
    const left = assert.rejects(exec(engine, id, {}, caller.signal), /the caller left/);
    await hang.arrived;
    caller.abort(new Error("the caller left"));
    await left;
  });

  test("reports which stage failed", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, specs } = engine.world;
    const id = await engine.start(await engine.run());
    specs.trouble.fail("process", undefined, 1);
    await assert.rejects(exec(engine, id), /exec sync .*stage build-spec.*process broke/);
    runtime.trouble.fail("execSync", new RuntimeError("not-found", "no such program"), 1);
    await assert.rejects(exec(engine, id), { kind: "not-found", message: /no such program/ });
    for (const stage of ["build-spec", "answer"] as const) {
      engine.faults.fail(`exec-sync/${stage}`);
      await assert.rejects(exec(engine, id), new RegExp(`stage ${stage}.*fault at`));
      engine.faults.heal(`exec-sync/${stage}`);
    }
  });
});
