import assert from "node:assert/strict";
import { once } from "node:events";
import { statSync } from "node:fs";
import { dirname } from "node:path";
import { describe, it } from "node:test";
import { messageOf } from "../../base/errors.ts";
import { until } from "../../linux/testing/leaks.ts";
import { allEvents } from "./event.ts";
import {
  connected,
  containerOf,
  maskOf,
  namesOf,
  noAbort,
  podOf,
  startNode,
} from "./testing/node.ts";
import { TestPlugin } from "./testing/plugin.ts";

describe("plugins that connect", () => {
  it("listens where only root can connect, and has nothing to do without a plugin", async () => {
    await using node = await startNode();
    const { plugins, socketPath } = node;
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(socketPath)).mode & 0o777, 0o700);
    assert.equal(plugins.active, false);
    await plugins.runPodSandbox(podOf("pod"), noAbort);
    const created = await plugins.createContainer(containerOf("c"), noAbort);
    assert.deepEqual(created, { adjustment: undefined, updates: [], evictions: [] });
  });

  it("leaves the socket to another process that serves it", async () => {
    await using node = await startNode();
    await using other = await startNode({ socketPath: node.socketPath });
    assert.match(other.plugins.status.notListening ?? "", /another process serves this socket/);
    using _plugin = await connected(node);
    assert.deepEqual(namesOf(other), []);
  });

  it("configures and synchronizes a plugin, and tells it events until it leaves", async () => {
    await using node = await startNode({
      pods: [podOf("p1")],
      containers: [containerOf("c1", "p1")],
    });
    const seen: unknown[] = [];
    const plugin = await connected(node, {
      mask: maskOf("runPodSandbox", "stopContainer"),
      answers: {
        configure: ({
          config,
          runtimeName,
          runtimeVersion,
          registrationTimeout,
          requestTimeout,
        }) => {
          seen.push({ config, runtimeName, runtimeVersion, registrationTimeout, requestTimeout });
          return { events: maskOf("runPodSandbox", "stopContainer") };
        },
        synchronize: ({ pods, containers }) => {
          seen.push([pods.map(({ id }) => id), containers.map(({ id }) => id)]);
          return { update: [{ containerId: "c1" }] };
        },
        runPodSandbox: ({ pod }) => {
          seen.push(pod?.id);
          return {};
        },
      },
    });
    const { plugins } = node;
    assert.equal(plugins.active, true);
    await plugins.runPodSandbox(podOf("p2"), noAbort);
    await plugins.stopPodSandbox(podOf("p2"), noAbort);
    assert.deepEqual(seen, [
      {
        config: "",
        runtimeName: "davit",
        runtimeVersion: "1.2.3",
        registrationTimeout: 10_000n,
        requestTimeout: 10_000n,
      },
      [["p1"], ["c1"]],
      "p2",
    ]);
    assert.deepEqual(
      node.updated.map(({ containerId }) => containerId),
      ["c1"],
    );
    assert.deepEqual(
      plugins.status.plugins.map(({ name, version, external, events: all }) => ({
        name,
        version,
        external,
        all,
      })),
      [
        {
          name: "10-test",
          version: "v0.12.0",
          external: true,
          all: ["RunPodSandbox", "StopContainer"],
        },
      ],
    );
    plugin[Symbol.dispose]();
    await until("the plugin is gone", () => !plugins.active);
    const { plugin: lost, external } = plugins.status.failures.at(-1) ?? {};
    assert.deepEqual([lost, external], ["10-test", true]);
  });

  it("refuses plugins that register wrongly", async () => {
    await using node = await startNode();
    for (const options of [
      { index: "1" },
      { index: "1x" },
      { name: "" },
      { name: "a/b" },
      { name: "x".repeat(300) },
    ]) {
      await assert.rejects(TestPlugin.register(node.socketPath, options), /must (be|have)/);
    }
    for (const [wrong, reason] of [
      [{ mask: allEvents + 1 }, /0x4000/],
      [{ mask: -1 }, /0xffffc000/],
      [{ answers: { configure: () => Promise.reject(new Error("bad config")) } }, /bad config/],
      [{ answers: { synchronize: () => Promise.reject(new Error("not now")) } }, /not now/],
    ] as const) {
      const plugin = await TestPlugin.register(node.socketPath, wrong);
      await once(plugin.socket, "close");
      await until("the failure is noted", () =>
        reason.test(node.plugins.status.failures.at(-1)?.reason ?? ""),
      );
    }
    assert.equal(node.plugins.active, false);
  });

  it("does not wait for a plugin that never registers", async () => {
    await using node = await startNode({ timeouts: { registrationMs: 300, requestMs: 10_000 } });
    const silent = await TestPlugin.connect(node.socketPath);
    await once(silent.socket, "close");
    await until("the failure is noted", () => node.plugins.status.failures.length > 0);
    assert.match(node.plugins.status.failures[0]?.reason ?? "", /did not register within 300 ms/);
  });

  it("synchronizes in several messages, and refuses a plugin that cannot do that", async () => {
    const pods = Array.from({ length: 300 }, (_, at) => podOf(`${at}-`.padEnd(20_000, "x")));
    await using node = await startNode({ pods });
    const seen: string[] = [];
    const parts: boolean[] = [];
    using _plugin = await connected(node, {
      answers: {
        synchronize: ({ pods: some, more }) => {
          seen.push(...some.map(({ id }) => id));
          parts.push(more);
          return { more };
        },
      },
    });
    assert.deepEqual(
      seen,
      pods.map(({ id }) => id),
    );
    assert.deepEqual(parts, [true, false]);
    const old = await TestPlugin.register(node.socketPath, {
      name: "old",
      answers: { synchronize: () => ({}) },
    });
    await once(old.socket, "close");
    await until("the failure is noted", () =>
      /too old/.test(node.plugins.status.failures.at(-1)?.reason ?? ""),
    );
  });

  it("lets plugins update and evict by themselves, but not before they are synchronized", async () => {
    await using node = await startNode({
      host: { update: (updates) => Promise.resolve(updates.slice(1)) },
    });
    const early: unknown[] = [];
    const plugin: TestPlugin = await TestPlugin.connect(node.socketPath, {
      answers: {
        synchronize: async () => {
          await plugin
            .update({ update: [{ containerId: "c" }] })
            .catch((error: unknown) => early.push(messageOf(error)));
          return {};
        },
      },
    });
    await assert.rejects(plugin.update({}), /not synchronized yet/);
    await plugin.register({ name: "u", index: "00" });
    await until("the plugin is synchronized", () => namesOf(node).length === 1);
    assert.match(String(early[0]), /not synchronized yet/);
    const { failed } = await plugin.update({
      update: [{ containerId: "a" }, { containerId: "b" }],
      evict: [{ containerId: "c", reason: "noisy" }],
    });
    assert.deepEqual(
      failed.map(({ containerId }) => containerId),
      ["b"],
    );
    assert.deepEqual(node.evicted, ["00-u: c"]);
    plugin[Symbol.dispose]();
  });

  it("synchronizes a plugin when no verb holds the gate", async () => {
    await using node = await startNode();
    const held = await node.plugins.hold(noAbort);
    using plugin = await TestPlugin.register(node.socketPath);
    await until("the plugin waits", () => node.plugins.active);
    assert.deepEqual(plugin.calls, ["Configure"]);
    held[Symbol.dispose]();
    await until("the plugin is synchronized", () => namesOf(node).length === 1);
  });

  it("tells plugins that davit stops, and disconnects them", async () => {
    const node = await startNode();
    const plugin = await connected(node);
    const ended = once(plugin.socket, "close");
    await node[Symbol.asyncDispose]();
    await ended;
    assert.equal(plugin.calls.at(-1), "Shutdown");
    assert.deepEqual(node.plugins.status.failures, []);
  });

  it("does not wait for a plugin that hangs when davit stops", { timeout: 60_000 }, async () => {
    const timeouts = { registrationMs: 10_000, requestMs: 3_600_000 };
    const node = await startNode({ timeouts });
    const hang = Promise.withResolvers<object>();
    const plugin = await connected(node, { answers: { shutdown: () => hang.promise } });
    const ended = once(plugin.socket, "close");
    await node[Symbol.asyncDispose]();
    await ended;
    hang.resolve({});
  });
});
