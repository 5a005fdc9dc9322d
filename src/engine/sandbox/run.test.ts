import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { stages } from "../../core/operation/index.ts";
import type { PodLabeller } from "../../core/sandbox/index.ts";
import { NamespaceMode, Protocol } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { podRequest } from "../testing/objects.ts";
import { runPodSandbox } from "./run.ts";

const whole = ["cgroup", "files", "holder", "namespaces", "network"];
const hostNetwork = {
  linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
};
// Of shims, and of pods whose egress is limited.
const others: readonly string[] = ["start-shim", "create-sandbox", "start-sandbox", "limit-egress"];
const ownStages = stages["run-pod-sandbox"].filter((stage) => !others.includes(stage));

function assertNothingIsLeft(engine: FakeEngine): void {
  const { host, records } = engine.world;
  assert.deepEqual(host.things(), []);
  assert.deepEqual(
    [records.sandboxes.rows.size, records.attachments.rows.size, records.notes.ids.size],
    [0, 0, 0],
  );
  assert.deepEqual([...engine.sandboxes.store.all()], []);
  assert.deepEqual(engine.sandboxes.operations.views(), []);
}

describe("runPodSandbox()", () => {
  test("returns the id of a listed, ready pod that has all it needs", async (t) => {
    const engine = new FakeEngine(t);
    const { host, records, network } = engine.world;
    const input = podRequest({
      annotations: { a: "b" },
      dnsConfig: { servers: ["10.0.0.53"], searches: ["svc"], options: ["ndots:5"] },
      portMappings: [{ protocol: Protocol.UDP, containerPort: 53, hostPort: 5353 }],
      linux: { cgroupParent: "", resources: { memoryLimitInBytes: 4096n } },
    });
    const id = await runPodSandbox(engine.sandboxes, input, never);
    assert.deepEqual(host.things(), whole);
    const sandbox = engine.sandboxes.store.resolve(id);
    assert.equal(sandbox.state.name, "ready");
    assert.equal(sandbox.netnsPath, `/ns/net/${id}`);
    assert.deepEqual(sandbox.network?.ips, ["10.0.0.1", "fd00::1"]);
    assert.equal(sandbox.process?.pid, 1001);
    assert.equal(sandbox.requestBytes, input.requestBytes);
    assert.deepEqual(records.sandboxes.rows.get(id), sandbox);
    assert.ok(records.attachments.rows.get(id)?.result !== undefined && records.notes.ids.has(id));
    const request = network.requests.get(id);
    assert.deepEqual(
      [request?.podName, request?.podNamespace, request?.podUid, request?.cgroupPath],
      ["web", "default", "uid-1", `/davit/${id}`],
    );
    assert.deepEqual(request?.annotations, { a: "b" });
    assert.deepEqual(request.dns, {
      servers: ["10.0.0.53"],
      searches: ["svc"],
      options: ["ndots:5"],
    });
    assert.deepEqual(request.portMappings[0]?.hostPort, 5353);
    assert.equal(engine.world.cgroups.limitsOf(`/davit/${id}`)?.memoryLimitBytes, 4096n);
  });

  test("enters each stage once, in the order of the list", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const [past] = engine.sandboxes.operations.history.of(id);
    assert.deepEqual(
      past?.stages.map(({ stage }) => stage),
      ownStages,
    );
  });

  test("creates no network for a pod on the host network", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run(hostNetwork);
    const { netnsPath, network } = engine.sandboxes.store.get(id);
    assert.deepEqual([netnsPath, network], [undefined, undefined]);
    assert.equal(engine.world.records.attachments.rows.size, 0);
    assert.ok(!engine.world.host.things().includes("network"));
  });

  test("creates no cgroup if the request has one", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run({ linux: { cgroupParent: "/kubepods/pod1" } });
    assert.equal(engine.sandboxes.store.get(id).cgroup?.parent, "/kubepods/pod1");
    assert.ok(!engine.world.host.things().includes("cgroup"));
  });

  test("uses the creation time of the controller if that is valid", async (t) => {
    const engine = new FakeEngine(t);
    const { controller, time } = engine.world;
    controller.createdAtNs = 42n;
    controller.hasProcess = false;
    const id = await engine.run();
    assert.equal(engine.sandboxes.store.get(id).createdAtNs, 42n);
    assert.equal(engine.sandboxes.store.get(id).process, undefined);
    for (const none of [0n, -62_135_596_800_000_000_000n, undefined]) {
      controller.createdAtNs = none;
      const name = `web-${String(none)}`;
      const next = await engine.run({ metadata: { name, namespace: "", uid: "", attempt: 0 } });
      const { createdAtNs = 0n } = engine.sandboxes.store.get(next);
      assert.ok(createdAtNs > 0n && createdAtNs < time.nowNs());
    }
  });

  test("assigns unique labels if there is a labeller", async (t) => {
    const seen: string[][] = [];
    const labels: PodLabeller = {
      choose: (_config, others) => {
        seen.push([...others].map(({ selinux }) => selinux?.process ?? ""));
        return { process: `p${seen.length}`, mount: "m" };
      },
    };
    const engine = new FakeEngine(t, { sandboxes: { labels } });
    const first = await engine.run();
    await engine.run({ metadata: { name: "other", namespace: "", uid: "", attempt: 0 } });
    assert.deepEqual(engine.sandboxes.store.get(first).selinux, { process: "p1", mount: "m" });
    assert.deepEqual(seen, [[], ["p1"]]);
  });
});

describe("runPodSandbox() rejects, and creates nothing for,", () => {
  test("an invalid config", async (t) => {
    const engine = new FakeEngine(t);
    const run = engine.run({ metadata: { name: "", namespace: "", uid: "", attempt: 0 } });
    await assert.rejects(run, { kind: "invalid-argument", message: /metadata\.name is empty/ });
    assertNothingIsLeft(engine);
  });

  test("an unknown handler, and one with an unknown controller", async (t) => {
    const engine = new FakeEngine(t);
    await assert.rejects(engine.run({}, "kata"), { kind: "invalid-argument", message: /"kata"/ });
    const message = /"old" requires controller "gone".*\[runtime\.handlers\.old\]/;
    await assert.rejects(engine.run({}, "old"), { kind: "unimplemented", message });
    assertNothingIsLeft(engine);
  });

  test("a user namespace that the handler does not support", async (t) => {
    const engine = new FakeEngine(t);
    const range = [{ containerId: 0, hostId: 65_536, length: 65_536 }];
    const usernsOptions = { mode: NamespaceMode.POD, uids: range, gids: range };
    const config = { linux: { securityContext: { namespaceOptions: { usernsOptions } } } };
    engine.world.handlers.noUserNamespaces = "its runtime cannot";
    const message = /its runtime cannot/;
    await assert.rejects(engine.run(config), { kind: "failed-precondition", message });
    assertNothingIsLeft(engine);
    engine.world.handlers.noUserNamespaces = undefined;
    await engine.run(config);
  });

  test("a caller that has disconnected already", async (t) => {
    const engine = new FakeEngine(t);
    const left = AbortSignal.abort(new Error("gone"));
    await assert.rejects(runPodSandbox(engine.sandboxes, podRequest(), left), /gone/);
    assertNothingIsLeft(engine);
  });

  test("a pod that cannot be recorded on a full disk", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.records.full = true;
    const message = /stage write-record.*the disk is full/;
    await assert.rejects(engine.run(), { kind: "resource-exhausted", message });
    engine.world.records.full = false;
    await engine.world.time.advance(5_000);
    assertNothingIsLeft(engine);
  });

  test("an attempt whose sandbox a client knows, and accepts the next attempt", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await assert.rejects(engine.run(), { kind: "already-exists", message: new RegExp(id) });
    await engine.run({ metadata: { name: "web", namespace: "default", uid: "uid-1", attempt: 1 } });
    assert.equal([...engine.sandboxes.store.listed()].length, 2);
  });
});

describe("runPodSandbox() undoes everything", () => {
  for (const stage of ownStages) {
    test(`when stage ${stage} fails, and the next try works`, async (t) => {
      const engine = new FakeEngine(t);
      engine.faults.fail(`run-pod-sandbox/${stage}`);
      const message = new RegExp(`stage ${stage}, .*fault at run-pod-sandbox/${stage}`);
      await assert.rejects(engine.run(), { kind: "internal", message });
      assertNothingIsLeft(engine);
      engine.faults.heal(`run-pod-sandbox/${stage}`);
      await engine.run();
    });

    test(`when the deadline is reached in stage ${stage}`, async (t) => {
      const engine = new FakeEngine(t);
      engine.faults.hang(`run-pod-sandbox/${stage}`);
      const run = engine.run();
      const message = new RegExp(`stage ${stage}, 120000 ms.*took longer than 120 s`);
      const rejected = assert.rejects(run, { kind: "deadline-exceeded", message });
      await engine.world.time.advance(120_000);
      await rejected;
      assertNothingIsLeft(engine);
    });
  }

  test("newest first", async (t) => {
    const engine = new FakeEngine(t);
    engine.faults.fail("run-pod-sandbox/answer");
    await assert.rejects(engine.run());
    const { removed } = engine.world.host;
    assert.deepEqual(removed, ["network", "holder", "namespaces", "files", "cgroup"]);
  });

  test("when a plugin, the controller or the cgroup fails midway", async (t) => {
    const engine = new FakeEngine(t);
    const { network, controller, cgroups } = engine.world;
    network.trouble.fail("add", new RuntimeError("unavailable", "no address"), 1);
    await assert.rejects(engine.run(), { kind: "unavailable", message: /add-network.*no address/ });
    assertNothingIsLeft(engine);
    for (const call of ["create", "start"] as const) {
      controller.trouble.fail(call, undefined, 1);
      await assert.rejects(engine.run(), { message: new RegExp(`${call} broke`) });
      assertNothingIsLeft(engine);
    }
    cgroups.trouble.fail("prepare", undefined, 1);
    await assert.rejects(engine.run(), /stage prepare-cgroup.*prepare broke/);
    assertNothingIsLeft(engine);
  });

  test("also when an undo works only at its second try", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.controller.trouble.fail("shutdown", undefined, 1);
    engine.faults.fail("run-pod-sandbox/finish-record");
    const rejected = assert.rejects(engine.run(), /fault at/);
    await engine.world.time.advance(1_000);
    await rejected;
    assertNothingIsLeft(engine);
    assert.ok(engine.logged("warn").includes("cannot remove its namespaces and files"));
  });

  test("except a network that cannot be removed, which is queued", async (t) => {
    const engine = new FakeEngine(t);
    const { network, time, host, records } = engine.world;
    network.trouble.fail("remove");
    engine.faults.fail("run-pod-sandbox/finish-record");
    const rejected = assert.rejects(engine.run(), /fault at/);
    await time.advance(1_000);
    await rejected;
    assert.deepEqual(host.things(), ["network"]);
    assert.equal(records.sandboxes.rows.size, 0);
    assert.equal(engine.sandboxes.teardown.pending()[0]?.tries, 3);
    network.trouble.heal("remove");
    await time.advance(10_000);
    assertNothingIsLeft(engine);
  });

  test("later if it cannot now: until then the pod is dead, listed, and has its name", async (t) => {
    const engine = new FakeEngine(t);
    const { controller, time, host } = engine.world;
    controller.trouble.fail("shutdown");
    engine.faults.fail("run-pod-sandbox/finish-record");
    const rejected = assert.rejects(engine.run(), /fault at/);
    await time.advance(500);
    await rejected;
    const [sandbox] = engine.sandboxes.store.listed();
    assert.ok(sandbox?.state.name === "dead");
    assert.match(sandbox.state.reason, /could not remove its namespaces and files: shutdown broke/);
    // The steps before the one that is stuck are not undone yet.
    assert.ok(host.has("cgroup", sandbox.id));
    await assert.rejects(engine.run(), { kind: "already-exists" });
    controller.trouble.heal("shutdown");
    await time.advance(5_000);
    assertNothingIsLeft(engine);
  });

  test("later if an undo hangs for 5 s", async (t) => {
    const engine = new FakeEngine(t);
    const { controller, time } = engine.world;
    const hang = controller.trouble.hang("shutdown", { deaf: true });
    engine.faults.fail("run-pod-sandbox/finish-record");
    const rejected = assert.rejects(engine.run(), /fault at/);
    await hang.arrived;
    await time.advance(4_000);
    assert.deepEqual([...engine.sandboxes.store.listed()], []);
    await time.advance(1_000);
    await rejected;
    assert.equal([...engine.sandboxes.store.listed()].length, 1);
    hang.release();
    await time.advance(5_000);
    assertNothingIsLeft(engine);
  });
});

describe("runPodSandbox(), called again,", () => {
  const other = podRequest({ hostname: "other" });

  test("lets an equal request join the one in progress", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.faults.hang("run-pod-sandbox/add-network");
    const first = engine.run();
    await hang.arrived;
    const second = engine.run();
    hang.release();
    assert.equal(await first, await second);
    assert.equal([...engine.sandboxes.store.all()].length, 1);
  });

  test("rejects a different request meanwhile, with the stage", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.faults.hang("run-pod-sandbox/add-network");
    const first = engine.run();
    await hang.arrived;
    await engine.world.time.advance(3_000);
    const message = /a different request has been creating it for 3 s, stage add-network/;
    const second = runPodSandbox(engine.sandboxes, other, never);
    await assert.rejects(second, { kind: "failed-precondition", message });
    hang.release();
    await first;
  });

  test("returns the held sandbox to the retry of a caller that disconnected, and lists it only then", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.faults.hang("run-pod-sandbox/add-network");
    const caller = new AbortController();
    const first = runPodSandbox(engine.sandboxes, podRequest(), caller.signal);
    await hang.arrived;
    caller.abort(new Error("too long"));
    await assert.rejects(first, /too long/);
    hang.release();
    await settle();
    const { store } = engine.sandboxes;
    assert.deepEqual([[...store.listed()].length, [...store.all()].length], [0, 1]);
    await assert.rejects(runPodSandbox(engine.sandboxes, other, never), {
      kind: "failed-precondition",
      message: /created it 0 s ago; it is removed unless/,
    });
    const id = await engine.run();
    assert.deepEqual(
      [...store.listed()].map((sandbox) => sandbox.id),
      [id],
    );
    assert.equal(store.get(id).state.name, "ready");
  });

  test("removes an unclaimed sandbox, and reports that to callers meanwhile", async (t) => {
    const engine = new FakeEngine(t);
    const hang = engine.faults.hang("run-pod-sandbox/add-network");
    const caller = new AbortController();
    const first = runPodSandbox(engine.sandboxes, podRequest(), caller.signal);
    await hang.arrived;
    caller.abort(new Error("too long"));
    await assert.rejects(first, /too long/);
    hang.release();
    await settle();
    const removal = engine.world.controller.trouble.hang("shutdown");
    await engine.world.time.advance(121_000);
    await removal.arrived;
    await assert.rejects(engine.run(), { kind: "unavailable", message: /is being removed/ });
    removal.release();
    await settle();
    assertNothingIsLeft(engine);
    await engine.run();
  });
});
