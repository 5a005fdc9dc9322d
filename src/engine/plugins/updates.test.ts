import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ContainerUpdateSchema } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  LinuxContainerResourcesSchema,
  UpdateContainerResourcesRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { updateContainerResources } from "../container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";

function memoryUpdate(containerId: string, value: bigint) {
  const linux = { resources: { memory: { limit: { value } } } };
  return create(ContainerUpdateSchema, { containerId, linux });
}

test("two updates that a plugin answers with updates of each other's container are both made", async (t) => {
  const engine = new FakeEngine(t);
  const { plugins } = engine.world;
  const pod = await engine.run();
  const ids = [await engine.start(pod), await engine.start(pod, { metadata: { name: "second" } })];
  const update = plugins.updateContainer.bind(plugins);
  plugins.updateContainer = async (of, wanted, signal) => {
    const updates = ids.filter((id) => id !== of.container.id).map((id) => memoryUpdate(id, 50n));
    return { ...(await update(of, wanted, signal)), updates };
  };
  const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 9n });
  await Promise.all(
    ids.map(async (containerId) => {
      const request = create(UpdateContainerResourcesRequestSchema, { containerId, linux });
      await updateContainerResources(engine.containers, request, never);
    }),
  );
  // The second one changed the container of the first one.
  const limits = ids.map((id) => engine.containers.store.get(id).resources?.memoryLimitInBytes);
  assert.deepEqual(limits, [50n, 9n]);
});

test("too many updates of other containers fail the create instead of being left out", async (t) => {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const updates = Array.from({ length: 1001 }, (_, at) => memoryUpdate(`c${at}`, 50n));
  engine.world.plugins.created = { updates, evictions: [], adjustment: undefined };
  await assert.rejects(engine.create(pod), /there are 1001, at most 1000 can be/);
  assert.deepEqual([...engine.containers.store.all()], []);
});

test("an update whose container the plugin evicts ends with the container, without waiting for itself", async (t) => {
  const engine = new FakeEngine(t);
  const { plugins } = engine.world;
  const id = await engine.start(await engine.run());
  const update = plugins.updateContainer.bind(plugins);
  plugins.updateContainer = async (of, wanted, signal) => {
    const evictions = [{ containerId: id, reason: "too hot", plugin: "10-a" }];
    return { ...(await update(of, wanted, signal)), evictions };
  };
  const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 9n });
  const request = create(UpdateContainerResourcesRequestSchema, { containerId: id, linux });
  await Promise.allSettled([updateContainerResources(engine.containers, request, never)]);
  await settle();
  const { state } = engine.containers.store.get(id);
  assert.equal(state.name === "exited" && state.message, 'evicted by plugin "10-a": too hot');
});
