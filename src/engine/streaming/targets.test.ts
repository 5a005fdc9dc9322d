import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { ClientStreams } from "../../core/streaming/index.ts";
import { stopContainer } from "../container/index.ts";
import { stopPodSandbox } from "../sandbox/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { EngineTargets, type PodConnector } from "./targets.ts";

const streams: ClientStreams = { sizes: (async function* () {})() };
const noConnector: PodConnector = () => Promise.reject(new Error("not here"));

async function setUp(
  t: TestContext,
  config: Parameters<FakeEngine["create"]>[1] = {},
  connect: PodConnector = noConnector,
) {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine.start(pod, config);
  const { containers, sandboxes } = engine;
  return { engine, pod, id, targets: new EngineTargets({ containers, sandboxes, connect }) };
}

describe("EngineTargets.exec()", () => {
  test("runs the command with the streams of the client, and returns its exit code", async (t) => {
    const { engine, id, targets } = await setUp(t);
    const { runtime } = engine.world;
    runtime.result = { ...runtime.result, exitCode: 9 };
    const request = { containerId: id, command: ["sh"], terminal: true };
    assert.deepEqual(await targets.exec(request, streams, never), { exitCode: 9 });
    assert.deepEqual(runtime.command?.client, { streams, terminal: true });
    assert.deepEqual(runtime.command.process, {
      args: ["sh"],
      terminal: true,
      started: true,
    });
  });

  test("ends with its client", async (t) => {
    const { engine, id, targets } = await setUp(t);
    const client = new AbortController();
    const hang = engine.world.runtime.trouble.hang("exec");
    const request = { containerId: id, command: ["sh"], terminal: false };
    const rejected = assert.rejects(targets.exec(request, streams, client.signal), /it left/);
    await hang.arrived;
    client.abort(new Error("it left"));
    await rejected;
  });

  test("rejects an empty command, and a container that has exited since the request", async (t) => {
    const { engine, id, targets } = await setUp(t);
    const exec = (command: readonly string[]) =>
      targets.exec({ containerId: id, command, terminal: false }, streams, never);
    await assert.rejects(exec([]), { kind: "invalid-argument", message: /command is empty/ });
    await stopContainer(engine.containers, id, 0n, never);
    await assert.rejects(exec(["sh"]), { kind: "failed-precondition", message: /is exited/ });
  });
});

describe("EngineTargets.attach()", () => {
  for (const { stdin, stdinOnce, means } of [
    { stdin: false, stdinOnce: false, means: "none" },
    { stdin: true, stdinOnce: true, means: "once" },
    { stdin: true, stdinOnce: false, means: "open" },
  ] as const) {
    test(`passes the stdin of the container to the runtime: ${means}`, async (t) => {
      const { engine, id, targets } = await setUp(t, { stdin, stdinOnce, tty: stdin });
      // The terminal in the request is ignored.
      const attached = targets.attach({ containerId: id, terminal: !stdin }, streams, never);
      await settle();
      const { runtime } = engine.world;
      assert.deepEqual(runtime.attached, { streams, terminal: stdin, stdin: means });
      runtime.exit(id);
      await attached;
    });
  }

  test("succeeds when the client disconnects, and fails when the runtime disconnects it", async (t) => {
    const { engine, id, targets } = await setUp(t);
    const client = new AbortController();
    const attached = targets.attach({ containerId: id, terminal: false }, streams, client.signal);
    await settle();
    client.abort(new Error("it left"));
    await attached;
    const slow = new RuntimeError("resource-exhausted", "it does not keep up");
    engine.world.runtime.trouble.fail("attach", slow, 1);
    const again = targets.attach({ containerId: id, terminal: false }, streams, never);
    await assert.rejects(again, { kind: "resource-exhausted", message: /does not keep up/ });
    assert.equal(engine.containers.store.get(id).state.name, "running");
  });

  test("rejects a container that is not running", async (t) => {
    const { engine, id, targets } = await setUp(t);
    await stopContainer(engine.containers, id, 0n, never);
    const attached = targets.attach({ containerId: id, terminal: false }, streams, never);
    await assert.rejects(attached, { kind: "failed-precondition", message: /attach to container/ });
  });
});

describe("EngineTargets.connect()", () => {
  test("connects to the port in the pod's network namespace", async (t) => {
    const connection = new PassThrough();
    const asked: unknown[] = [];
    const { pod, targets } = await setUp(t, {}, async (path, port) => {
      asked.push([path, port]);
      return connection;
    });
    assert.equal(await targets.connect(pod.slice(0, 12), 80, never), connection);
    assert.deepEqual(asked, [[`/ns/net/${pod}`, 80]]);
    assert.equal(connection.destroyed, false);
  });

  test("rejects an invalid port, and a sandbox that is not ready", async (t) => {
    const { engine, pod, targets } = await setUp(t);
    for (const bad of [0, 65_536, 1.5]) {
      await assert.rejects(targets.connect(pod, bad, never), { kind: "invalid-argument" });
    }
    await stopPodSandbox(engine.sandboxes, pod, never);
    await assert.rejects(targets.connect(pod, 80, never), { kind: "failed-precondition" });
    await assert.rejects(targets.connect("none", 80, never), { kind: "not-found" });
  });

  test("reports why there is no connection", async (t) => {
    const refused = new RuntimeError("unavailable", "connection refused");
    const { pod, targets } = await setUp(t, {}, () => Promise.reject(refused));
    const message = /port forward .*\(stage connect.*connection refused/;
    await assert.rejects(targets.connect(pod, 80, never), { kind: "unavailable", message });
  });

  test("gives up when the client disconnects, and after 30 s", async (t) => {
    const hanging: PodConnector = (_path, _port, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          reject(signal.reason as Error);
        });
      });
    const { engine, pod, targets } = await setUp(t, {}, hanging);
    const client = new AbortController();
    const left = assert.rejects(targets.connect(pod, 80, client.signal), /it left/);
    await settle();
    client.abort(new Error("it left"));
    await left;
    const late = targets.connect(pod, 80, never);
    const rejected = assert.rejects(late, { kind: "deadline-exceeded", message: /than 30 s/ });
    await engine.world.time.advance(30_000);
    await rejected;
  });

  test("closes a connection whose client has disconnected", async (t) => {
    const connection = new PassThrough();
    const { engine, pod, targets } = await setUp(t, {}, async () => connection);
    engine.faults.fail("port-forward/answer");
    await assert.rejects(targets.connect(pod, 80, never), /fault at/);
    assert.equal(connection.destroyed, true);
  });
});
