import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { BoundHandler } from "../../core/handler/index.ts";
import { podRequest } from "../testing/objects.ts";
import { FakeEngine } from "../testing/engine.ts";
import { checkEgressHandler } from "./egress.ts";
import { removePodSandbox } from "./remove.ts";
import { stopPodSandbox } from "./stop.ts";

const limited = { annotations: { "davit.egress": "10.0.0.0/8, dns" } };
const never = new AbortController().signal;

describe("a pod whose egress is limited", () => {
  test("gets its limits after its network, and before it is known", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.world.egress.trouble.hang("limit");
    const run = engine.run(limited);
    await hang.arrived;
    const [sandbox] = [...engine.sandboxes.store.all()];
    assert.ok(sandbox !== undefined && !engine.sandboxes.store.isListed(sandbox.id));
    assert.ok(engine.world.host.things().includes("network"));
    hang.release();
    const id = await run;
    const [request] = engine.world.egress.requests;
    assert.deepEqual(
      [request?.sandboxId, request?.netnsPath, request?.rules.length],
      [id, `/ns/net/${id}`, 2],
    );
    const [past] = engine.sandboxes.operations.history.of(id);
    const stages = past?.stages.map(({ stage }) => stage) ?? [];
    assert.ok(stages.indexOf("limit-egress") > stages.indexOf("network-added"));
  });

  test("is not made if the limits fail, or hang until the deadline", async (t) => {
    const engine = new FakeEngine(t);
    const { egress, host, time } = engine.world;
    egress.trouble.fail("limit", new RuntimeError("failed-precondition", "no iptables"));
    const message = /stage limit-egress.*no iptables/;
    await assert.rejects(engine.run(limited), { kind: "failed-precondition", message });
    egress.trouble.hang("limit");
    const hung = assert.rejects(engine.run(limited), { kind: "deadline-exceeded" });
    await time.advance(120_000);
    await hung;
    assert.deepEqual([host.things(), [...engine.sandboxes.store.all()]], [[], []]);
  });

  test("is one with the annotation only", async (t) => {
    const engine = new FakeEngine(t);
    await engine.run();
    assert.deepEqual(engine.world.egress.requests, []);
  });
});

describe("checkEgressHandler()", () => {
  const { config } = podRequest(limited).request;
  assert.ok(config !== undefined);
  const handler = (of: Partial<BoundHandler>): BoundHandler => ({
    requested: "",
    name: "h",
    controller: "podsandbox",
    ...of,
  });
  const runc = { runtimeType: "io.containerd.runc.v2" };

  test("accepts crun and runc, also by a shim", () => {
    for (const of of [
      { path: "crun" },
      { path: "/usr/sbin/runc" },
      runc,
      { ...runc, options: { BinaryName: "/usr/bin/crun" } },
    ]) {
      checkEgressHandler(config, handler(of));
    }
  });

  test("refuses all that may have a network stack of its own, for pods with limits only", () => {
    const { config: free } = podRequest().request;
    assert.ok(free !== undefined);
    for (const of of [
      { path: "runsc" },
      { path: "/usr/bin/krun" },
      { path: "/opt/crun/kata" },
      { controller: "shim", ...runc },
      { runtimeType: "io.containerd.kata.v2" },
      { runtimeType: "io.containerd.kata.v2", path: "crun" },
      { ...runc, options: { BinaryName: "runsc" } },
      { ...runc, options: { BinaryName: ["runc"] } },
      { ...runc, runtimePath: "/opt/shim" },
      {},
    ]) {
      const check = () => checkEgressHandler(config, handler(of));
      assert.throws(check, { kind: "failed-precondition", message: /handler "h"/ });
      checkEgressHandler(free, handler(of));
    }
  });
});

test("a pod without a network has a namespace, no address and no attachment, and is removed", async (t) => {
  const engine = new FakeEngine(t);
  const id = await engine.run({ annotations: { "davit.network": "none" } });
  const { netnsPath, network, state } = engine.sandboxes.store.get(id);
  assert.deepEqual([netnsPath, network, state.name], [`/ns/net/${id}`, undefined, "ready"]);
  assert.equal(engine.world.network.requests.size, 0);
  assert.equal(engine.world.records.attachments.rows.size, 0);
  await stopPodSandbox(engine.sandboxes, id, never);
  await removePodSandbox(engine.sandboxes, id, never);
  assert.deepEqual(engine.world.host.things(), []);
});
