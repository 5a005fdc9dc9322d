import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { SandboxState } from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { podSandboxStatus } from "./status.ts";
import { stopPodSandbox } from "./stop.ts";

const hostNetwork = {
  linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
};
const ips = ["10.0.0.1", "fd00::1"];

/** Answers and failures of a controller, and the resulting status. */
interface Row {
  readonly name: string;
  readonly spoil: (engine: FakeEngine, id: string) => void;
  readonly ready: boolean;
  readonly processStatus: string;
  readonly error?: RegExp;
  readonly warns?: boolean;
}

const failing =
  (kind: ConstructorParameters<typeof RuntimeError>[0], message: string): Row["spoil"] =>
  (engine) => {
    engine.world.controller.trouble.fail("status", new RuntimeError(kind, message));
  };

const rows: readonly Row[] = [
  { name: "says ready", spoil: () => undefined, ready: true, processStatus: "running" },
  {
    name: "says not ready",
    spoil: ({ world }) => {
      world.controller.facts = { state: "SANDBOX_NOTREADY" };
    },
    ready: false,
    processStatus: "stopped",
  },
  {
    name: "says a word that nobody knows",
    spoil: ({ world }) => {
      world.controller.facts = { state: "SANDBOX_WHATEVER" };
    },
    ready: false,
    processStatus: "stopped",
  },
  {
    name: "does not know the sandbox",
    spoil: ({ world }, id) => {
      world.host.remove("files", id);
    },
    ready: false,
    processStatus: "deleted",
    error: /is not known/,
  },
  {
    name: "is gone",
    spoil: failing("unavailable", "connection refused"),
    ready: false,
    processStatus: "deleted",
    error: /connection refused/,
  },
  {
    name: "cannot say",
    spoil: failing("unimplemented", "no such method"),
    ready: true,
    processStatus: "unknown",
    error: /no such method/,
    warns: true,
  },
  {
    name: "answers nonsense",
    spoil: failing("internal", "bad answer"),
    ready: true,
    processStatus: "unknown",
    error: /bad answer/,
    warns: true,
  },
];

describe("podSandboxStatus() where the controller", () => {
  for (const { name, spoil, ready, processStatus, error, warns = false } of rows) {
    test(name, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.run();
      spoil(engine, id);
      const status = await podSandboxStatus(engine.sandboxes, id.slice(0, 8), true);
      assert.equal(status.sandbox.id, id);
      assert.equal(status.ready, ready);
      assert.equal(status.info?.processStatus, processStatus);
      assert.deepEqual(status.ips, ips);
      assert.ok(status.createdAtNs > 0n && status.timestampNs >= status.createdAtNs);
      if (error === undefined) assert.equal(status.info.controllerError, undefined);
      else assert.match(status.info.controllerError ?? "", error);
      assert.equal(engine.logged("warn").length, warns ? 1 : 0);
    });
  }

  test("hangs: after 2 s the last known state is reported", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    for (const deaf of [false, true]) {
      const hang = engine.world.controller.trouble.hang("status", { deaf });
      const status = podSandboxStatus(engine.sandboxes, id, true);
      await hang.arrived;
      await engine.world.time.advance(2_000);
      const { ready, info } = await status;
      assert.deepEqual([ready, info?.processStatus], [true, "unknown"]);
      assert.match(info?.controllerError ?? "", /timeout/);
      hang.release();
    }
  });

  test("loses its connection only after the deadline: the last known state is reported", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const { controller, time } = engine.world;
    const status: typeof controller.status = (_sandbox, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          reject(new RuntimeError("unavailable", "connection reset"));
        });
      });
    t.mock.method(controller, "status", status);
    const asked = podSandboxStatus(engine.sandboxes, id, true);
    await time.advance(2_000);
    assert.equal((await asked).ready, true);
  });

  test("is not in this daemon: the last known state is reported", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const next = await engine.restart({ controllers: [] });
    await next.recover();
    const { ready, info } = await podSandboxStatus(next.sandboxes, id, true);
    assert.equal(ready, true);
    assert.match(info?.controllerError ?? "", /has no controller "podsandbox"/);
  });
});

describe("podSandboxStatus()", () => {
  test("has information only if verbose", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    assert.equal((await podSandboxStatus(engine.sandboxes, id, false)).info, undefined);
    const { info } = await podSandboxStatus(engine.sandboxes, id, true);
    const { history, ...facts } = info ?? assert.fail("no info");
    assert.deepEqual(
      history.map(({ operation }) => operation),
      ["run-pod-sandbox"],
    );
    assert.deepEqual(facts, {
      pid: 7,
      processStatus: "running",
      netNamespaceClosed: false,
      extra: { runtimeSpec: {} },
      controllerError: undefined,
    });
  });

  test("rejects an unknown, an empty and an ambiguous id", async (t) => {
    const engine = new FakeEngine(t);
    const status = (id: string) => podSandboxStatus(engine.sandboxes, id, false);
    await assert.rejects(status("none"), { kind: "not-found" });
    await assert.rejects(status(""), { kind: "invalid-argument" });
    // 17 ids of hexadecimal digits: two begin with the same one.
    for (let attempt = 0; attempt < 17; attempt++) {
      await engine.run({ metadata: { name: "web", namespace: "", uid: "", attempt } });
    }
    const digits = Array.from({ length: 16 }, (_, digit) => status(digit.toString(16)));
    const results = await Promise.allSettled(digits);
    const kinds = results.map((each) =>
      each.status === "rejected" ? (each.reason as RuntimeError).kind : "found",
    );
    assert.ok(kinds.includes("invalid-argument"));
  });

  test("is not ready for a sandbox in another state than ready, even if the controller reports ready", async (t) => {
    const states: readonly SandboxState[] = [
      { name: "dead", reason: "", atNs: 1n },
      { name: "stopped", atNs: 1n },
    ];
    const engine = new FakeEngine(t);
    const id = await engine.run();
    for (const state of states) {
      engine.sandboxes.store.update(id, (now) => ({ ...now, state }));
      const { ready, info } = await podSandboxStatus(engine.sandboxes, id, true);
      // The namespace of a stopped sandbox counts as closed, though it may still exist.
      assert.deepEqual([ready, info?.netNamespaceClosed], [false, state.name === "stopped"]);
    }
  });

  test("has the creation time of the controller, of the record, or of the clock", async (t) => {
    const engine = new FakeEngine(t);
    const { controller, time } = engine.world;
    const id = await engine.run();
    const own = engine.sandboxes.store.get(id).createdAtNs;
    const createdAt = async () => (await podSandboxStatus(engine.sandboxes, id, false)).createdAtNs;
    controller.facts = { createdAtNs: 42n };
    assert.equal(await createdAt(), 42n);
    for (const none of [0n, -62_135_596_800_000_000_000n, undefined]) {
      controller.facts = { createdAtNs: none };
      assert.equal(await createdAt(), own);
    }
    for (const lost of [undefined, 0n]) {
      engine.sandboxes.store.update(id, (now) => ({ ...now, createdAtNs: lost }));
      const before = time.nowNs();
      assert.ok((await createdAt()) > before);
    }
  });

  test("has the address of a ready pod, also when the record of its network is lost", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    await engine.sandboxes.attachments.delete(id);
    assert.deepEqual((await podSandboxStatus(engine.sandboxes, id, false)).ips, ips);
  });

  test("lists its containers newest first, also after a restart", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    // Three attempts of one container: kubelet takes the first one in the list for the current one.
    const attempts: string[] = [];
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const metadata = { name: "app", attempt };
      attempts.unshift(await engine.create(id, { metadata }));
    }
    const listed = async (of: FakeEngine): Promise<readonly string[]> => {
      const { containers } = await podSandboxStatus(of.sandboxes, id, false);
      return containers.map((container) => container.id);
    };
    assert.deepEqual(await listed(engine), attempts);
    const next = await engine.restart();
    await next.recover();
    assert.deepEqual(await listed(next), attempts);
  });

  test("has no address on the host network", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run(hostNetwork);
    const { ips: none, info } = await podSandboxStatus(engine.sandboxes, id, true);
    assert.deepEqual([none, info?.netNamespaceClosed], [[], false]);
  });

  test("has no address when the network namespace is gone", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    engine.world.host.remove("namespaces", id);
    const status = await podSandboxStatus(engine.sandboxes, id, true);
    assert.deepEqual([status.ips, status.info?.netNamespaceClosed], [[], true]);
  });

  test("has the address of a dead pod until its network is removed", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.faults.hang("stop-pod-sandbox/remove-network");
    const stop = stopPodSandbox(engine.sandboxes, id, never);
    await hang.arrived;
    assert.deepEqual((await podSandboxStatus(engine.sandboxes, id, false)).ips, ips);
    const closing = engine.faults.hang("stop-pod-sandbox/close-namespaces");
    hang.release();
    await closing.arrived;
    assert.deepEqual((await podSandboxStatus(engine.sandboxes, id, false)).ips, []);
    closing.release();
    await stop;
    const stopped = await podSandboxStatus(engine.sandboxes, id, true);
    assert.deepEqual(stopped.ips, []);
    assert.deepEqual(
      [stopped.info?.processStatus, stopped.info?.netNamespaceClosed],
      ["deleted", true],
    );
  });

  test("includes a stop that happened while the controller was asked", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.world.controller.trouble.hang("status");
    const asked = podSandboxStatus(engine.sandboxes, id, false);
    await hang.arrived;
    await stopPodSandbox(engine.sandboxes, id, never);
    hang.release();
    const { ready, sandbox } = await asked;
    assert.deepEqual([ready, sandbox.state.name], [false, "stopped"]);
  });

  test("still answers when the sandbox was removed meanwhile", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.run();
    const hang = engine.world.controller.trouble.hang("status");
    const asked = podSandboxStatus(engine.sandboxes, id, false);
    await hang.arrived;
    engine.sandboxes.store.remove(id);
    hang.release();
    assert.equal((await asked).sandbox.id, id);
  });
});
