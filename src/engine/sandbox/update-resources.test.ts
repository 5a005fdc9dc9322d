import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { UpdatePodSandboxResourcesRequestSchema } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { stopPodSandbox } from "./stop.ts";
import { updatePodSandboxResources } from "./update-resources.ts";

function updateOf(podSandboxId: string, memory: bigint | undefined, overhead = 0n) {
  const request = create(UpdatePodSandboxResourcesRequestSchema, {
    podSandboxId,
    ...(memory === undefined ? {} : { resources: { memoryLimitInBytes: memory } }),
    overhead: { memoryLimitInBytes: overhead },
  });
  return { request, requestBytes: toBinary(UpdatePodSandboxResourcesRequestSchema, request) };
}

/** The current memory limit, the recorded bytes, and the last bytes that the controller got. */
function inForce({ world }: FakeEngine, id: string) {
  return {
    memory: world.cgroups.limitsOf(`/davit/${id}`)?.memoryLimitBytes,
    recorded: world.records.sandboxes.rows.get(id)?.resourcesBytes,
    told: world.controller.resourcesOf(id),
  };
}

describe("updatePodSandboxResources()", () => {
  test("writes the limits, updates the controller, and records the request", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const input = updateOf(id.slice(0, 9), 4096n);
    await updatePodSandboxResources(engine.sandboxes, input, never);
    const { requestBytes } = input;
    assert.deepEqual(inForce(engine, id), {
      memory: 4096n,
      recorded: requestBytes,
      told: requestBytes,
    });
  });

  test("writes no limits if the request has none", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run({ linux: { resources: { memoryLimitInBytes: 1024n } } });
    engine.world.cgroups.trouble.fail("update");
    const input = updateOf(id, undefined);
    await updatePodSandboxResources(engine.sandboxes, input, never);
    assert.equal(inForce(engine, id).memory, 1024n);
    assert.equal(inForce(engine, id).recorded, input.requestBytes);
  });

  test("rejects invalid resources and overhead before it changes anything", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    for (const bad of [updateOf(id, -5n), updateOf(id, 1n, -5n)]) {
      const update = updatePodSandboxResources(engine.sandboxes, bad, never);
      await assert.rejects(update, { kind: "invalid-argument" });
    }
    assert.deepEqual(inForce(engine, id), {
      memory: undefined,
      recorded: undefined,
      told: undefined,
    });
  });

  test("rejects a sandbox that is not ready, and one that does not exist", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await stopPodSandbox(engine.sandboxes, id, never);
    const update = updatePodSandboxResources(engine.sandboxes, updateOf(id, 1n), never);
    await assert.rejects(update, { kind: "failed-precondition", message: /is not ready/ });
    const none = updatePodSandboxResources(engine.sandboxes, updateOf("none", 1n), never);
    await assert.rejects(none, { kind: "not-found" });
  });

  for (const stage of ["write-limits", "update-controller", "write-record", "answer"] as const) {
    test(`restores the former resources everywhere when stage ${stage} fails`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.run();
      await updatePodSandboxResources(engine.sandboxes, updateOf(id, 1024n), never);
      const { memory, recorded } = inForce(engine, id);
      engine.faults.fail(`update-pod-sandbox-resources/${stage}`);
      const update = updatePodSandboxResources(engine.sandboxes, updateOf(id, 2048n), never);
      await assert.rejects(update, new RegExp(`stage ${stage}.*fault at`));
      assert.deepEqual(inForce(engine, id), { memory, recorded, told: recorded });
    });
  }

  test("restores the former resources when cgroup, controller or disk fail", async (t) => {
    const engine = new FakeEngine(t);
    const { cgroups, controller, records } = engine.world;
    const id = await engine.run();
    const update = () => updatePodSandboxResources(engine.sandboxes, updateOf(id, 2048n), never);
    cgroups.trouble.fail("update", undefined, 1);
    await assert.rejects(update(), /update broke/);
    controller.trouble.fail("update", undefined, 1);
    await assert.rejects(update(), /stage update-controller.*update broke/);
    assert.equal(inForce(engine, id).memory, undefined);
    records.full = true;
    await assert.rejects(update(), { kind: "resource-exhausted" });
    records.full = false;
    assert.deepEqual(inForce(engine, id), {
      memory: undefined,
      recorded: undefined,
      told: undefined,
    });
    assert.ok(!("resourcesBytes" in engine.sandboxes.store.get(id)));
  });

  test("logs that a failed update cannot be undone", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    engine.faults.fail("update-pod-sandbox-resources/answer");
    const { controller, time } = engine.world;
    const hang = engine.faults.hang("update-pod-sandbox-resources/write-record");
    engine.faults.fail("update-pod-sandbox-resources/answer");
    const update = updatePodSandboxResources(engine.sandboxes, updateOf(id, 2048n), never);
    const rejected = assert.rejects(update, /fault at/);
    await hang.arrived;
    controller.trouble.fail("update");
    hang.release();
    await time.advance(1_000);
    await rejected;
    const message =
      "a failed update was not undone, its limits still apply: cannot restore the former resources in the controller";
    assert.deepEqual(engine.logged("error"), [message]);
  });

  test("ends with its caller, and after 10 s, and restores the former limits", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const caller = new AbortController();
    const first = engine.world.controller.trouble.hang("update", { deaf: true });
    const left = updatePodSandboxResources(engine.sandboxes, updateOf(id, 2048n), caller.signal);
    const rejected = assert.rejects(left, /update-controller.*the caller left/);
    await first.arrived;
    caller.abort(new Error("the caller left"));
    await rejected;
    assert.equal(inForce(engine, id).memory, undefined);
    first.release();
    const second = engine.world.controller.trouble.hang("update", { deaf: true });
    const slow = updatePodSandboxResources(engine.sandboxes, updateOf(id, 4096n), never);
    const late = assert.rejects(slow, { kind: "deadline-exceeded", message: /longer than 10 s/ });
    await second.arrived;
    await engine.world.time.advance(10_000);
    await late;
    assert.equal(inForce(engine, id).memory, undefined);
  });

  test("works for a sandbox whose controller this daemon does not have", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const next = await engine.restart({ controllers: [] });
    await next.recover();
    const input = updateOf(id, 512n);
    await updatePodSandboxResources(next.sandboxes, input, never);
    assert.deepEqual(inForce(next, id), {
      memory: 512n,
      recorded: input.requestBytes,
      told: undefined,
    });
  });
});
