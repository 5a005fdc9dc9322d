import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { ContainerUpdate } from "../../core/plugin/index.ts";
import { ContainerUpdateSchema } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  LinuxContainerResourcesSchema,
  UpdateContainerResourcesRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { pluginHost, updateContainerResources } from "../container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";

const none = { updates: [], evictions: [] };

function memoryUpdate(containerId: string, limit: bigint): ContainerUpdate {
  const linux = { resources: { memory: { limit: { value: limit } } } };
  return create(ContainerUpdateSchema, { containerId, linux });
}

function updateByClient(engine: FakeEngine, containerId: string, memoryLimitInBytes: bigint) {
  const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes });
  const request = create(UpdateContainerResourcesRequestSchema, { containerId, linux });
  return updateContainerResources(engine.containers, request, never);
}

function memoryOf(engine: FakeEngine, id: string): bigint | undefined {
  return engine.containers.store.get(id).resources?.memoryLimitInBytes;
}

const limited = {
  linux: { resources: create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 100n }) },
} as unknown as Parameters<FakeEngine["create"]>[1];

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** Two running containers. */
async function two(t: TestContext): Promise<readonly [FakeEngine, string, string]> {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const first = await engine.start(pod, limited);
  const second = await engine.start(pod, { ...limited, metadata: { name: "second" } });
  return [engine, first, second];
}

describe("updates of other containers", () => {
  test("do not make two updates wait for each other", async (t) => {
    const [engine, first, second] = await two(t);
    const { plugins } = engine.world;
    const other = new Map([
      [first, second],
      [second, first],
    ]);
    plugins.updateContainer = async ({ container: { id } }, resources) => {
      // Long enough for the other update to get its lock too.
      await turns(20);
      return { ...none, resources, updates: [memoryUpdate(other.get(id) ?? "", 5n)] };
    };
    const both = Promise.all([
      updateByClient(engine, first, 7n),
      updateByClient(engine, second, 8n),
    ]);
    both.catch(() => undefined);
    await engine.world.time.advance(60_000);
    await both;
    assert.deepEqual([memoryOf(engine, first), memoryOf(engine, second)], [5n, 8n]);
  });

  test("are not undone where a later update has replaced them", async (t) => {
    const [engine, first, second] = await two(t);
    const updates = [memoryUpdate(first, 50n), memoryUpdate(second, -5n)];
    engine.world.plugins.created = { ...none, updates, adjustment: undefined };
    const lock = await engine.containers.locks.acquire(second);
    const [pod = ""] = [...engine.sandboxes.store.all()].map(({ id }) => id);
    const creating = engine.create(pod, { metadata: { name: "third" } });
    creating.catch(() => undefined);
    while (memoryOf(engine, first) !== 50n) await turns(1);
    await updateByClient(engine, first, 70n);
    lock[Symbol.dispose]();
    await assert.rejects(creating, /apply the update of a plugin/);
    assert.equal(memoryOf(engine, first), 70n);
    assert.equal(engine.world.runtime.limits.get(first)?.resources.memoryLimitInBytes, 70n);
  });

  test("do not wait forever for a call that hangs", async (t) => {
    const [engine, first, second] = await two(t);
    using _hanging = await engine.containers.locks.acquire(first);
    const host = pluginHost(() => engine.containers);
    const updating = host.update([memoryUpdate(first, 50n), memoryUpdate(second, 60n)]);
    await engine.world.time.advance(engine.containers.times.endMs);
    const failed = await updating;
    assert.deepEqual(
      failed.map(({ containerId }) => containerId),
      [first],
    );
    assert.equal(memoryOf(engine, second), 60n);
  });
});
