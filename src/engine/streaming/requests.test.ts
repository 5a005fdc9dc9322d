import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { StreamChoice } from "../../core/streaming/index.ts";
import { stopContainer } from "../container/index.ts";
import { stopPodSandbox } from "../sandbox/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { requestAttach, requestExec, requestPortForward } from "./requests.ts";

const output: StreamChoice = { stdin: false, stdout: true, stderr: true, terminal: false };
const terminal: StreamChoice = { stdin: true, stdout: true, stderr: false, terminal: true };

const urlOf = (...all: readonly unknown[]): Promise<string> => Promise.resolve(JSON.stringify(all));

/** A running container. URLs are JSON of their parameters. */
async function setUp(t: TestContext, config: Parameters<FakeEngine["create"]>[1] = {}) {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine.start(pod, config);
  const urls = {
    exec: urlOf,
    attach: urlOf,
    portForward: urlOf,
  };
  const { containers, sandboxes } = engine;
  return { engine, pod, id, context: { containers, sandboxes, urls } };
}

describe("requestExec()", () => {
  test("returns a URL for the full id, the command and the streams", async (t) => {
    const { context, id, pod } = await setUp(t);
    const request = { containerId: id.slice(0, 12), command: ["sh"] };
    const address = await requestExec(context, request, terminal);
    const meant = { containerId: id, sandboxId: pod, command: ["sh"], terminal: true };
    assert.deepEqual(JSON.parse(address), [meant, terminal]);
  });

  test("rejects an invalid combination of streams, no streams, and no command", async (t) => {
    const { context, id } = await setUp(t);
    const exec =
      (choice: StreamChoice, command = ["sh"]) =>
      () =>
        requestExec(context, { containerId: id, command }, choice);
    const both = { ...terminal, stderr: true };
    const none = { stdin: false, stdout: false, stderr: false, terminal: false };
    await assert.rejects(exec(both), {
      kind: "invalid-argument",
      message: /^exec: a terminal has no separate stderr/,
    });
    await assert.rejects(exec(none), {
      kind: "invalid-argument",
      message: /^exec: stdin, stdout and stderr are all false/,
    });
    await assert.rejects(exec(output, []), {
      kind: "invalid-argument",
      message: /command is empty/,
    });
    for (const one of ["stdin", "stdout", "stderr"] as const) {
      await exec({ ...none, [one]: true })();
    }
  });

  test("rejects a container that does not exist or is not running", async (t) => {
    const { engine, context, id } = await setUp(t);
    const exec = (containerId: string) => () =>
      requestExec(context, { containerId, command: ["sh"] }, output);
    await assert.rejects(exec("none"), { kind: "not-found" });
    await stopContainer(engine.containers, id, 0n, never);
    await assert.rejects(exec(id), {
      kind: "failed-precondition",
      message: /is exited, not running/,
    });
  });
});

describe("requestAttach()", () => {
  for (const tty of [true, false]) {
    test(`uses the terminal setting of the container, not of the client: ${tty}`, async (t) => {
      const { context, id, pod } = await setUp(t, { tty });
      const address = await requestAttach(context, { containerId: id.slice(0, 12) }, output);
      const meant = { containerId: id, sandboxId: pod, terminal: tty };
      assert.deepEqual(JSON.parse(address), [meant, output]);
    });
  }

  test("rejects a container that is not running, and an invalid combination of streams", async (t) => {
    const { engine, context, id } = await setUp(t);
    const attach = (choice: StreamChoice) => () =>
      requestAttach(context, { containerId: id }, choice);
    const both = { ...terminal, stderr: true };
    await assert.rejects(attach(both), {
      kind: "invalid-argument",
      message: /^attach: a terminal has no separate stderr/,
    });
    await stopContainer(engine.containers, id, 0n, never);
    await assert.rejects(attach(output), {
      kind: "failed-precondition",
      message: /attach to container/,
    });
  });
});

describe("requestPortForward()", () => {
  test("returns a URL for the full id and the ports", async (t) => {
    const { context, pod } = await setUp(t);
    const forward = async (ports: readonly number[]) =>
      JSON.parse(
        await requestPortForward(context, { sandboxId: pod.slice(0, 12), ports }),
      ) as unknown;
    assert.deepEqual(await forward([1, 65_535]), [pod, [1, 65_535]]);
    assert.deepEqual(await forward([]), [pod, []]);
  });

  test("rejects an invalid port, and a sandbox that is not ready", async (t) => {
    const { engine, context, pod } = await setUp(t);
    const forward = (ports: readonly number[]) => () =>
      requestPortForward(context, { sandboxId: pod, ports });
    for (const bad of [0, 65_536, 1.5, -1]) {
      const message = new RegExp(`a port must be from 1 to 65535, got ${bad}`);
      await assert.rejects(forward([80, bad]), { kind: "invalid-argument", message });
    }
    await stopPodSandbox(engine.sandboxes, pod, never);
    await assert.rejects(forward([80]), {
      kind: "failed-precondition",
      message: /is stopped, not ready/,
    });
  });
});
