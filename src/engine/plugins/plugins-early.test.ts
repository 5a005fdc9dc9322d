import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import type { ContainerUpdate } from "../../core/plugin/index.ts";
import {
  ContainerEvictionSchema,
  ContainerUpdateSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { LinuxContainerResourcesSchema } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine } from "../testing/engine.ts";

const refused = new RuntimeError("failed-precondition", 'NRI plugin "10-no" refused it');

describe("plugins", () => {
  test("are asked about a container of a known image while its root is mounted", async (t) => {
    const engine = new FakeEngine(t);
    const { plugins } = engine.world;
    const pod = await engine.run();
    await engine.create(pod);
    plugins.told.length = 0;
    const hang = engine.faults.hang("create-container/mount-root");
    const second = engine.create(pod, { metadata: { name: "second", attempt: 0 } });
    await hang.arrived;
    assert.deepEqual(plugins.told, ["createContainer second creating"]);
    hang.release();
    await second;
    assert.deepEqual(plugins.told.slice(1), ["postCreateContainer second created"]);
    assert.equal(plugins.holds, 0);
  });

  test("that were asked before a mount failed are told that the container is gone", async (t) => {
    const engine = new FakeEngine(t);
    const { plugins, roots } = engine.world;
    const pod = await engine.run();
    await engine.create(pod);
    const again = () => engine.create(pod, { metadata: { name: "second", attempt: 0 } });
    plugins.told.length = 0;
    roots.trouble.fail("mount", undefined, 1);
    await assert.rejects(again(), /stage mount-root.*mount broke/);
    assert.deepEqual(
      plugins.told.map((line) => line.split(" ")[0]),
      ["createContainer", "stopContainer", "removeContainer"],
    );
    assert.equal(plugins.holds, 0);
    plugins.trouble.fail("createContainer", refused, 1);
    await assert.rejects(again(), /stage ask-plugins.*"10-no" refused it/);
    assert.equal([...engine.containers.store.all()].length, 1);
    await again();
  });

  test("that were asked before a mount failed change no other container, and may at its undo", async (t) => {
    const engine = new FakeEngine(t);
    const { plugins, roots } = engine.world;
    const pod = await engine.run();
    const linux = create(LinuxContainerResourcesSchema, { memoryLimitInBytes: 100n });
    const other = await engine.start(pod, { linux: { resources: linux } });
    const evicted = await engine.start(pod, { metadata: { name: "evicted", attempt: 0 } });
    const memoryOf = (): unknown => engine.containers.store.get(other).resources;
    const update = (limit: bigint): ContainerUpdate =>
      create(ContainerUpdateSchema, {
        containerId: other,
        linux: { resources: { memory: { limit: { value: limit } } } },
      });
    const again = () => engine.create(pod, { metadata: { name: "second", attempt: 0 } });
    plugins.created = {
      updates: [update(50n)],
      evictions: [create(ContainerEvictionSchema, { containerId: evicted })],
      adjustment: undefined,
    };
    roots.trouble.fail("mount", undefined, 1);
    await assert.rejects(again(), /stage mount-root.*mount broke/);
    assert.partialDeepStrictEqual(memoryOf(), { memoryLimitInBytes: 100n });
    assert.equal(engine.containers.store.get(evicted).state.name, "running");
    // A plugin that counts on its answer is told that the container is gone, and can give the limit back.
    plugins.stopped = { updates: [update(60n)], evictions: [] };
    roots.trouble.fail("mount", undefined, 1);
    await assert.rejects(again(), /stage mount-root.*mount broke/);
    assert.partialDeepStrictEqual(memoryOf(), { memoryLimitInBytes: 60n });
    await again();
    assert.partialDeepStrictEqual(memoryOf(), { memoryLimitInBytes: 50n });
    assert.equal(engine.containers.store.get(evicted).state.name, "exited");
  });
});
