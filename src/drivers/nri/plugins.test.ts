import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import { Event } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { until } from "../../linux/testing/leaks.ts";
import { encodeMessage } from "../../wire/ttrpc/multiplexer-frames.ts";
import {
  connected,
  containerOf,
  maskOf,
  namesOf,
  never,
  noAbort,
  podOf,
  startNode,
} from "./testing/node.ts";
import { TestPlugin } from "./testing/plugin.ts";

describe("NriPlugins", () => {
  it("asks plugins one after the other, by index and name", async () => {
    await using node = await startNode();
    const order: string[] = [];
    for (const [index, name] of [
      ["20", "b"],
      ["10", "z"],
      ["20", "a"],
    ] as const) {
      const tell = async () => {
        order.push(`${index}-${name} begins`);
        await new Promise(setImmediate);
        order.push(`${index}-${name} ends`);
        return {};
      };
      await connected(node, { index, name, answers: { runPodSandbox: tell } });
    }
    assert.deepEqual(namesOf(node), ["10-z", "20-a", "20-b"]);
    await node.plugins.runPodSandbox(podOf("p"), noAbort);
    assert.deepEqual(
      order,
      ["10-z", "20-a", "20-b"].flatMap((name) => [`${name} begins`, `${name} ends`]),
    );
  });

  it("gives a plugin one event at a time, and lets another pod continue with the next plugin", async () => {
    await using node = await startNode();
    const order: string[] = [];
    const held = Promise.withResolvers<object>();
    await connected(node, {
      index: "10",
      answers: {
        runPodSandbox: ({ pod }) => {
          order.push(`first ${pod?.id ?? ""}`);
          return {};
        },
      },
    });
    await connected(node, {
      index: "20",
      answers: {
        runPodSandbox: async ({ pod }) => {
          order.push(`second ${pod?.id ?? ""}`);
          return pod?.id === "a" ? await held.promise : {};
        },
      },
    });
    const one = node.plugins.runPodSandbox(podOf("a"), noAbort);
    await until("the second plugin has the first pod", () => order.includes("second a"));
    const two = node.plugins.runPodSandbox(podOf("b"), noAbort);
    const three = node.plugins.runPodSandbox(podOf("a"), noAbort);
    await until("the first plugin has the second pod", () => order.includes("first b"));
    assert.deepEqual(order, ["first a", "second a", "first b"]);
    held.resolve({});
    await Promise.all([one, two, three]);
    assert.deepEqual(order.slice(3).sort(), ["first a", "second a", "second b"]);
  });

  it("rejects the verb with a plugin's error, except where the verb must not fail", async () => {
    await using node = await startNode();
    const fail = (): never => {
      throw new RuntimeError("not-found", "no such class");
    };
    using plugin = await connected(node, {
      answers: {
        createContainer: fail,
        startContainer: fail,
        stopContainer: fail,
        removePodSandbox: fail,
      },
    });
    const { plugins } = node;
    await assert.rejects(plugins.createContainer(containerOf("c"), noAbort), (error) => {
      assert.equal(
        messageOf(error),
        'NRI plugin "10-test" refused CreateContainer of container "c": "no such class"',
      );
      return isKind(error, "failed-precondition");
    });
    await assert.rejects(plugins.startContainer(containerOf("c"), noAbort), /StartContainer/);
    await plugins.stopContainer(containerOf("c"), noAbort);
    await plugins.removePodSandbox(podOf("pod"), noAbort);
    assert.equal(node.lines.filter((line) => line.startsWith("warn: NRI plugin")).length, 2);
    const { failures } = plugins.status;
    assert.deepEqual(
      failures.map(({ plugin: name, event, sandbox, container, dropped }) => [
        name,
        event,
        sandbox,
        container,
        dropped,
      ]),
      [
        ["10-test", "CreateContainer", "pod", "c", false],
        ["10-test", "StartContainer", "pod", "c", false],
        ["10-test", "StopContainer", "pod", "c", false],
        ["10-test", "RemovePodSandbox", "pod", undefined, false],
      ],
    );
    assert.equal(plugin.socket.destroyed, false);
  });

  it("drops a plugin that does not answer in time, and continues with the next", async () => {
    await using node = await startNode({ timeouts: { registrationMs: 10_000, requestMs: 2_000 } });
    const slow = await connected(node, { index: "10", answers: { runPodSandbox: () => never } });
    using next = await connected(node, { index: "20", answers: { runPodSandbox: () => ({}) } });
    const ended = once(slow.socket, "close");
    await node.plugins.runPodSandbox(podOf("p"), noAbort);
    await ended;
    assert.equal(next.calls.at(-1), "RunPodSandbox");
    await until("the plugin is gone", () => namesOf(node).length === 1);
    const { failures } = node.plugins.status;
    assert.equal(failures.length, 1);
    const { plugin, event, sandbox, reason, dropped } = failures[0] ?? {};
    assert.deepEqual([plugin, event, sandbox, dropped], ["10-test", "RunPodSandbox", "p", true]);
    assert.match(reason ?? "", /no response after 2000 ms/);
  });

  it("tells who takes part and who is lost, with the reason", async () => {
    const told: string[] = [];
    await using node = await startNode({
      timeouts: { registrationMs: 10_000, requestMs: 1_000 },
      onConnected: ({ index, name }) => told.push(`connected ${index} ${name}`),
      onLost: ({ index, name }, reason) => told.push(`lost ${index} ${name}: ${reason}`),
    });
    await assert.rejects(TestPlugin.register(node.socketPath, { index: "1" }));
    await connected(node, { name: "slow", answers: { createContainer: () => never } });
    const dying = await connected(node, { index: "20", name: "dying", answers: {} });
    dying.socket.destroy();
    await until("one plugin is gone", () => namesOf(node).length === 1);
    await node.plugins.createContainer(containerOf("c"), noAbort);
    await until("both plugins are gone", () => namesOf(node).length === 0);
    assert.deepEqual(told.slice(0, 2), ["connected 10 slow", "connected 20 dying"]);
    assert.match(told[2] ?? "", /^lost 20 dying: /);
    assert.match(told[3] ?? "", /^lost 10 slow: .*1000 ms.* at CreateContainer of container "c"$/);
    assert.equal(told.length, 4);
    const lost = node.lines.filter((line) => line.includes("lost NRI plugin"));
    assert.match(lost[0] ?? "", /^warn: .*"20-dying": .*closed/);
    assert.match(lost[1] ?? "", /^error: .*"10-slow" at CreateContainer/);
  });

  it("continues when a plugin dies or sends garbage while it is asked", async () => {
    await using node = await startNode();
    for (const end of [
      (plugin: TestPlugin) => plugin.socket.destroy(),
      (plugin: TestPlugin) => plugin.socket.write("not a frame at all"),
      // A response on a stream that was not opened.
      (plugin: TestPlugin) =>
        plugin.socket.write(encodeMessage(1, Buffer.from("00000000000000ff0200", "hex"))),
      // A response that is not a message.
      (plugin: TestPlugin) => {
        const response = Buffer.from("00000002000000010200ffff", "hex");
        for (let stream = 1; stream < 20; stream += 2) {
          response.writeUInt32BE(stream, 4);
          plugin.socket.write(encodeMessage(1, response));
        }
      },
    ]) {
      const plugin: TestPlugin = await connected(node, {
        answers: {
          createContainer: () => {
            end(plugin);
            return never;
          },
        },
      });
      const { adjustment } = await node.plugins.createContainer(containerOf("c"), noAbort);
      assert.equal(adjustment, undefined);
      await until("the plugin is gone", () => namesOf(node).length === 0);
      assert.equal(node.plugins.status.failures.at(-1)?.event, "CreateContainer");
      plugin[Symbol.dispose]();
    }
    assert.equal(node.plugins.status.failures.length, 4);
  });

  it("stops to wait when the verb is aborted, and keeps the plugin", async () => {
    await using node = await startNode();
    const held = Promise.withResolvers<object>();
    using plugin = await connected(node, { answers: { runPodSandbox: () => held.promise } });
    const verb = new AbortController();
    const told = node.plugins.runPodSandbox(podOf("p"), verb.signal);
    await until("the plugin is asked", () => plugin.calls.includes("RunPodSandbox"));
    verb.abort(new RuntimeError("canceled", "the client has gone"));
    await assert.rejects(told, /the client has gone/);
    held.resolve({});
    await node.plugins.runPodSandbox(podOf("p"), noAbort);
    assert.deepEqual(namesOf(node), ["10-test"]);
  });

  it("tells plugins that only know StateChange what happens", async () => {
    await using node = await startNode();
    const seen: unknown[] = [];
    using plugin = await connected(node, {
      answers: {
        stateChange: ({ event, pod, container }) => {
          seen.push([event, pod?.id, container?.id]);
          return {};
        },
      },
    });
    const { plugins } = node;
    for (let i = 0; i < 2; i++) await plugins.runPodSandbox(podOf("p"), noAbort);
    await plugins.postStartContainer(containerOf("c", "p"), noAbort);
    // These it does not have, and has not named.
    await plugins.updatePodSandbox(podOf("p"), {}, noAbort);
    await plugins.createContainer(containerOf("c", "p"), noAbort);
    assert.deepEqual(seen, [
      [Event.RUN_POD_SANDBOX, "p", undefined],
      [Event.RUN_POD_SANDBOX, "p", undefined],
      [Event.POST_START_CONTAINER, "p", "c"],
    ]);
    assert.deepEqual(plugin.calls.slice(2), ["StateChange", "StateChange", "StateChange"]);
    const [status] = plugins.status.plugins;
    assert.equal(status?.isOld, true);
    assert.ok(!status.events.includes("CreateContainer"));
  });

  it("asks validators, and rejects when one does, or does not answer", async () => {
    await using node = await startNode({ timeouts: { registrationMs: 10_000, requestMs: 2_000 } });
    const { plugins } = node;
    let answer: () => object | Promise<never> = () => ({});
    using _one = await connected(node, {
      mask: maskOf("validate"),
      answers: { validateContainerAdjustment: () => answer() },
    });
    // This one subscribes to everything, but cannot validate.
    using _two = await connected(node, { name: "all" });
    await plugins.createContainer(containerOf("c"), noAbort);
    answer = () => ({ reject: true, reason: "no hooks here" });
    await assert.rejects(
      plugins.createContainer(containerOf("c"), noAbort),
      /10-test.*container "c".*no hooks here/,
    );
    answer = () => never;
    await assert.rejects(
      plugins.createContainer(containerOf("c"), noAbort),
      /was lost while it checked/,
    );
    await plugins.createContainer(containerOf("c"), noAbort);
  });

  it("asks the built-in validator even when no plugin is connected", async () => {
    const asked: string[][] = [];
    await using node = await startNode({
      validate: ({ plugins }) => {
        asked.push(plugins.map(({ index, name }) => `${index}-${name}`));
        return plugins.length === 0 ? "plugin x is missing" : undefined;
      },
    });
    assert.equal(node.plugins.active, true);
    await assert.rejects(
      node.plugins.createContainer(containerOf("c"), noAbort),
      /default validator.*container "c": plugin x is missing/,
    );
    using _plugin = await connected(node, { mask: maskOf("runPodSandbox") });
    await node.plugins.createContainer(containerOf("c"), noAbort);
    assert.deepEqual(asked, [[], ["10-test"]]);
  });
});
