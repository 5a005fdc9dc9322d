import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerEvictionSchema,
  ContainerUpdateSchema,
  LinuxResourcesSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  LinuxContainerResourcesSchema,
  UpdateContainerResourcesRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import {
  pluginHost,
  removeContainer,
  startContainer,
  stopContainer,
  updateContainerResources,
} from "../container/index.ts";
import { removePodSandbox, stopPodSandbox } from "../sandbox/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";

const refused = new RuntimeError("failed-precondition", 'NRI plugin "10-no" refused it');
const none = { updates: [], evictions: [] };

function adjustment(init: MessageInitShape<typeof ContainerAdjustmentSchema>): ContainerAdjustment {
  return create(ContainerAdjustmentSchema, init);
}

function memoryUpdate(containerId: string, limit: bigint, ignoreFailure = false) {
  const linux = { resources: { memory: { limit: { value: limit } } } };
  return create(ContainerUpdateSchema, { containerId, linux, ignoreFailure });
}

function memoryOf(engine: FakeEngine, id: string): bigint | undefined {
  return engine.containers.store.get(id).resources?.memoryLimitInBytes;
}

const limited = {
  linux: { resources: create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 100n }) },
} as unknown as Parameters<FakeEngine["create"]>[1];

/** Waits until `told` has this event. */
async function untilTold(engine: FakeEngine, event: string): Promise<void> {
  while (!engine.world.plugins.told.some((line) => line.startsWith(event))) {
    await new Promise(setImmediate);
  }
}

describe("plugins", () => {
  test("are told about each step of a pod and its container, in order", async (t) => {
    const engine = new FakeEngine(t);
    const { told } = engine.world.plugins;
    const pod = await engine.run();
    const id = await engine.start(pod);
    const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 7n });
    const request = create(UpdateContainerResourcesRequestSchema, { containerId: id, linux });
    await updateContainerResources(engine.containers, request, never);
    await stopContainer(engine.containers, id, 1n, never);
    await removeContainer(engine.containers, id, never);
    await stopPodSandbox(engine.sandboxes, pod, never);
    await removePodSandbox(engine.sandboxes, pod, never);
    assert.deepEqual(told, [
      "runPodSandbox web creating",
      "createContainer app creating",
      "postCreateContainer app created",
      "startContainer app created with a process",
      "postStartContainer app running",
      "updateContainer app running",
      "postUpdateContainer app running",
      "stopContainer app exited",
      "removeContainer app exited",
      "stopPodSandbox web dead",
      "removePodSandbox web stopped",
    ]);
    assert.equal(engine.world.plugins.holds, 0);
  });

  test("that are not connected are not asked, and no stage is entered for them", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.plugins.active = false;
    const pod = await engine.run();
    const id = await engine.start(pod);
    await removePodSandbox(engine.sandboxes, pod, never);
    assert.deepEqual(engine.world.plugins.told, []);
    const stages = [pod, id].flatMap((object) =>
      engine.containers.operations.history.of(object).flatMap((past) => past.stages),
    );
    assert.ok(stages.length > 20);
    assert.deepEqual(
      stages.filter(({ stage }) => stage.endsWith("-plugins")),
      [],
    );
  });

  test("can refuse a pod: it is undone, and they are told that it is gone", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.plugins.trouble.fail("runPodSandbox", refused, 1);
    await assert.rejects(engine.run(), /stage ask-plugins.*"10-no" refused it/);
    assert.deepEqual([...engine.sandboxes.store.all()], []);
    assert.deepEqual(engine.world.host.things(), []);
    assert.deepEqual(
      engine.world.plugins.told.map((line) => line.split(" ")[0]),
      ["runPodSandbox", "stopPodSandbox", "removePodSandbox"],
    );
    await engine.run();
  });

  test("can refuse a container: it is undone, and they are told that it is gone", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    engine.world.plugins.trouble.fail("createContainer", refused, 1);
    await assert.rejects(engine.create(pod), /stage ask-plugins.*"10-no" refused it/);
    assert.deepEqual([...engine.containers.store.all()], []);
    assert.deepEqual(
      engine.world.plugins.told.slice(1).map((line) => line.split(" ")[0]),
      ["createContainer", "stopContainer", "removeContainer"],
    );
    await engine.create(pod);
  });

  test("can refuse a start, and are told its end once", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    engine.world.plugins.trouble.fail("startContainer", refused, 1);
    await assert.rejects(startContainer(engine.containers, id, never), /"10-no" refused it/);
    const { state } = engine.containers.store.get(id);
    assert.ok(state.name === "exited" && state.reason === "StartError");
    await removeContainer(engine.containers, id, never);
    assert.deepEqual(engine.world.plugins.told.slice(3), [
      "startContainer app created with a process",
      "stopContainer app exited",
      "removeContainer app exited",
    ]);
  });

  test("are told once about a container that ends by itself while it is stopped", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    engine.world.runtime.exit(id, { exitCode: 3 });
    await untilTold(engine, "stopContainer");
    await stopContainer(engine.containers, id, 0n, never);
    const stops = engine.world.plugins.told.filter((line) => line.startsWith("stopContainer"));
    assert.deepEqual(stops, ["stopContainer app exited"]);
  });

  test("are told StopContainer at the removal of a container that never ran", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run());
    await removeContainer(engine.containers, id, never);
    assert.deepEqual(engine.world.plugins.told.slice(3), [
      "stopContainer app created",
      "removeContainer app created",
    ]);
  });

  test("that fail at a stop or a removal change nothing", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const id = await engine.start(pod);
    const { trouble } = engine.world.plugins;
    trouble.fail("stopContainer", refused);
    trouble.fail("removeContainer", refused);
    trouble.fail("stopPodSandbox", refused);
    trouble.fail("removePodSandbox", refused);
    await stopContainer(engine.containers, id, 0n, never);
    await removePodSandbox(engine.sandboxes, pod, never);
    assert.deepEqual([...engine.sandboxes.store.all()], []);
    assert.equal(engine.logged("warn").filter((line) => line.includes("plugin failed")).length, 4);
  });

  test("are told the ends of all containers before that of their pod", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    await engine.start(pod);
    const other = await engine.start(pod, { metadata: { name: "second" } });
    engine.world.runtime.exit(other);
    await stopPodSandbox(engine.sandboxes, pod, never);
    const ends = engine.world.plugins.told.filter((line) => line.startsWith("stop"));
    assert.deepEqual(ends.slice(0, 2).toSorted(), [
      "stopContainer app exited",
      "stopContainer second exited",
    ]);
    assert.deepEqual(ends.slice(2), ["stopPodSandbox web dead"]);
  });

  test("are told once about a stop that is repeated", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    engine.faults.fail("stop-pod-sandbox/close-namespaces");
    await assert.rejects(stopPodSandbox(engine.sandboxes, pod, never), /fault at/);
    engine.faults.heal("stop-pod-sandbox/close-namespaces");
    await stopPodSandbox(engine.sandboxes, pod, never);
    await stopPodSandbox(engine.sandboxes, pod, never);
    assert.deepEqual(engine.world.plugins.told.slice(1), ["stopPodSandbox web dead"]);
  });
});

describe("adjustments", () => {
  test("are kept: resources of the CRI in force, the rest in the record", async (t) => {
    const engine = new FakeEngine(t);
    engine.world.plugins.created = {
      ...none,
      adjustment: adjustment({
        env: [{ key: "A", value: "b" }],
        linux: { resources: { memory: { limit: { value: 42n } }, pids: { limit: 5n } } },
      }),
    };
    const id = await engine.create(await engine.run());
    assert.equal(memoryOf(engine, id), 42n);
    const { adjustment: bytes } = engine.containers.store.get(id);
    assert.ok(bytes !== undefined);
    const rest = fromBinary(ContainerAdjustmentSchema, bytes);
    assert.deepEqual(
      [rest.env[0]?.key, rest.linux?.resources?.memory, rest.linux?.resources?.pids?.limit],
      ["A", undefined, 5n],
    );
    assert.deepEqual(engine.world.records.containers.rows.get(id)?.adjustment, bytes);
    await startContainer(engine.containers, id, never);
    const { spec } = engine.world.runtime.bundleOf(id) ?? {};
    assert.partialDeepStrictEqual(spec, { memory: "42" });
  });

  test("of the cgroup need the id of the container in its name", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    for (const cgroupsPath of ["/", "/kubepods", "relative", "/a/../b", ""]) {
      const wanted = adjustment({ linux: { cgroupsPath } });
      engine.world.plugins.created = { ...none, adjustment: wanted };
      if (cgroupsPath === "") continue;
      await assert.rejects(engine.create(pod), /cgroups path of a plugin must/);
    }
    assert.deepEqual([...engine.containers.store.all()], []);
  });

  test("of resources may replace an update of a client", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run());
    const resources = create(LinuxResourcesSchema, { memory: { limit: { value: 9n } } });
    engine.world.plugins.updated = { resources };
    const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 7n });
    const request = create(UpdateContainerResourcesRequestSchema, { containerId: id, linux });
    await updateContainerResources(engine.containers, request, never);
    assert.equal(memoryOf(engine, id), 9n);
  });
});

describe("changes of other containers", () => {
  test("are applied at a create", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const other = await engine.start(pod, limited);
    const updates = [memoryUpdate(other, 50n), memoryUpdate("unknown", 1n)];
    engine.world.plugins.created = { ...none, updates, adjustment: undefined };
    await engine.create(pod, { metadata: { name: "second" } });
    assert.equal(memoryOf(engine, other), 50n);
    assert.equal(engine.world.runtime.limits.get(other)?.resources.memoryLimitInBytes, 50n);
  });

  test("that fail fail the create and are undone, unless the plugin ignores it", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const other = await engine.start(pod, limited);
    const bad = memoryUpdate(other, -5n);
    const updates = [memoryUpdate(other, 50n), bad];
    engine.world.plugins.created = { ...none, updates, adjustment: undefined };
    const second = { metadata: { name: "second" } };
    await assert.rejects(engine.create(pod, second), /apply the update of a plugin/);
    assert.equal(memoryOf(engine, other), 100n);
    engine.world.plugins.created = {
      ...none,
      updates: [memoryUpdate(other, -5n, true)],
      adjustment: undefined,
    };
    await engine.create(pod, second);
  });

  test("are applied after a stop, and by the initiative of a plugin", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const other = await engine.start(pod, limited);
    const id = await engine.start(pod, { metadata: { name: "second" } });
    engine.world.plugins.stopped = { ...none, updates: [memoryUpdate(other, 50n)] };
    await stopContainer(engine.containers, id, 0n, never);
    assert.equal(memoryOf(engine, other), 50n);
    const host = pluginHost(() => engine.containers);
    const failed = await host.update([memoryUpdate(other, 60n), memoryUpdate(other, -1n)]);
    assert.equal(memoryOf(engine, other), 60n);
    assert.deepEqual(
      failed.map(({ linux }) => linux?.resources?.memory?.limit?.value),
      [-1n],
    );
  });

  test("evict containers, and their status has the reason", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const other = await engine.start(pod);
    const evictions = [
      { containerId: other, reason: "too hot", plugin: "10-a" },
      create(ContainerEvictionSchema, { containerId: "unknown" }),
    ];
    engine.world.plugins.created = { ...none, evictions, adjustment: undefined };
    await engine.create(pod, { metadata: { name: "second" } });
    const { state } = engine.containers.store.get(other);
    assert.ok(state.name === "exited");
    assert.equal(state.message, 'evicted by plugin "10-a": too hot');
  });
});

describe("the synchronization of a plugin", () => {
  test("sees finished pods and containers that are created or run", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run();
    const running = await engine.start(pod);
    const created = await engine.create(pod, { metadata: { name: "second" } });
    const ended = await engine.start(pod, { metadata: { name: "third" } });
    await stopContainer(engine.containers, ended, 0n, never);
    const hang = engine.world.plugins.trouble.hang("createContainer");
    const creating = engine.create(pod, { metadata: { name: "fourth" } });
    await hang.arrived;
    const { pods, containers } = pluginHost(() => engine.containers).list();
    assert.deepEqual(
      pods.map(({ id }) => id),
      [pod],
    );
    assert.deepEqual(
      containers.map(({ container }) => container.id),
      [running, created],
    );
    hang.release();
    await creating;
  });

  test("and a verb wait for each other, and the plugin may update containers in it", async (t) => {
    const engine = new FakeEngine(t);
    const { plugins } = engine.world;
    const pod = await engine.run();
    const id = await engine.start(pod, limited);
    const host = pluginHost(() => engine.containers);
    const hang = plugins.trouble.hang("createContainer");
    const creating = engine.create(pod, { metadata: { name: "second" } });
    await hang.arrived;
    let seen: readonly string[] = [];
    const synchronized = plugins.synchronize(async () => {
      seen = host.list().containers.map(({ container }) => container.config.metadata?.name ?? "");
      await host.update([memoryUpdate(id, 50n)]);
    });
    // A verb for the same container waits for the synchronization, which waits for the create.
    const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 70n });
    const request = create(UpdateContainerResourcesRequestSchema, { containerId: id, linux });
    const updating = updateContainerResources(engine.containers, request, never);
    const stopping = stopContainer(engine.containers, id, 0n, never);
    assert.deepEqual(seen, []);
    hang.release();
    await Promise.allSettled([creating, synchronized, updating, stopping]);
    assert.deepEqual(seen.toSorted().slice(-1), ["second"]);
    assert.equal(plugins.holds, 0);
    assert.equal(engine.containers.store.get(id).state.name, "exited");
  });

  test("is not awaited by an eviction, whose create holds the plugins", async (t) => {
    const engine = new FakeEngine(t);
    const { plugins } = engine.world;
    const pod = await engine.run();
    const other = await engine.start(pod);
    const evictions = [create(ContainerEvictionSchema, { containerId: other })];
    plugins.created = { ...none, evictions, adjustment: undefined };
    const hang = plugins.trouble.hang("createContainer");
    const creating = engine.create(pod, { metadata: { name: "second" } });
    await hang.arrived;
    const synchronized = plugins.synchronize(() => Promise.resolve());
    hang.release();
    await Promise.all([creating, synchronized]);
    await untilTold(engine, "stopContainer");
    await engine.containers.plugins?.endTold(other);
    assert.equal(plugins.holds, 0);
  });
});
