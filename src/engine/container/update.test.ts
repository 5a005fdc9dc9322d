import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { UpdateContainerResourcesRequestSchema } from "../../gen/runtime/v1/api_pb.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { removeContainer } from "./remove.ts";
import { startContainer } from "./start.ts";
import { stopContainer } from "./stop.ts";
import { updateContainerResources } from "./update.ts";

const before = { linux: { resources: { memoryLimitInBytes: 1024n } } };

function update(
  engine: FakeEngine,
  containerId: string,
  memoryLimitInBytes: bigint,
  caller = never,
  fields: MessageInitShape<typeof UpdateContainerResourcesRequestSchema> = {},
): Promise<void> {
  const linux = { memoryLimitInBytes };
  const init = { containerId, linux, ...fields };
  const request = create(UpdateContainerResourcesRequestSchema, init as never);
  return updateContainerResources(engine.containers, request, caller);
}

/** The memory limit in the database, in memory, and in the cgroup of the running container. */
function inForce({ world, containers }: FakeEngine, id: string) {
  return {
    recorded: world.records.containers.rows.get(id)?.resources?.memoryLimitInBytes,
    shown: containers.store.get(id).resources?.memoryLimitInBytes,
    written: world.runtime.limits.get(id)?.resources.memoryLimitInBytes,
  };
}

describe("updateContainerResources()", () => {
  test("writes limits to a running container, and shows and records them", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run(), before);
    await update(engine, id.slice(0, 12), 2048n);
    assert.deepEqual(inForce(engine, id), { recorded: 2048n, shown: 2048n, written: 2048n });
  });

  test("applies the limits of a created container at its start", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.create(await engine.run(), before);
    await update(engine, id, 2048n);
    assert.deepEqual(inForce(engine, id), { recorded: 2048n, shown: 2048n, written: undefined });
    await startContainer(engine.containers, id, never);
    assert.partialDeepStrictEqual(engine.world.runtime.bundleOf(id)?.spec, { memory: "2048" });
  });

  test("keeps fields that the request does not have, and does nothing without linux", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run(), before);
    const kept = engine.containers.store.get(id);
    await update(engine, id, 0n);
    await updateContainerResources(
      engine.containers,
      create(UpdateContainerResourcesRequestSchema, { containerId: id }),
      never,
    );
    assert.deepEqual(inForce(engine, id), { recorded: 1024n, shown: 1024n, written: undefined });
    assert.deepEqual(engine.containers.store.get(id), kept);
  });

  test("rejects invalid limits, Windows resources, and a container that does not exist", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run(), before);
    await assert.rejects(update(engine, id, -5n), { kind: "invalid-argument" });
    const windows = update(engine, id, 1n, never, { windows: {} });
    await assert.rejects(windows, { kind: "invalid-argument", message: /this node runs Linux/ });
    await assert.rejects(update(engine, "none", 1n), { kind: "not-found" });
    assert.deepEqual(inForce(engine, id), { recorded: 1024n, shown: 1024n, written: undefined });
  });

  test("rejects a container that has exited", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run(), before);
    await stopContainer(engine.containers, id, 0n, never);
    const message = /is exited, neither created nor running/;
    await assert.rejects(update(engine, id, 1n), { kind: "failed-precondition", message });
  });

  for (const stage of ["write-limits", "write-record", "answer"] as const) {
    test(`restores the former resources when stage ${stage} fails`, async (t) => {
      const engine = new FakeEngine(t);
      const id = await engine.start(await engine.run(), before);
      await update(engine, id, 2048n);
      engine.faults.fail(`update-container-resources/${stage}`);
      await assert.rejects(update(engine, id, 4096n), new RegExp(`stage ${stage}.*fault at`));
      assert.deepEqual(inForce(engine, id), { recorded: 2048n, shown: 2048n, written: 2048n });
    });
  }

  test("restores them when the runtime or the disk fails", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, records } = engine.world;
    const id = await engine.start(await engine.run(), before);
    const tooLittle = new RuntimeError("failed-precondition", "it uses 3000 bytes");
    runtime.trouble.fail("update", tooLittle, 1);
    await assert.rejects(update(engine, id, 2048n), {
      kind: "failed-precondition",
      message: /it uses 3000 bytes/,
    });
    records.full = true;
    await assert.rejects(update(engine, id, 2048n), { kind: "resource-exhausted" });
    assert.deepEqual(inForce(engine, id), { recorded: 1024n, shown: 1024n, written: undefined });
  });

  test("logs that a failed update cannot be undone", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run(), before);
    t.mock.method(runtime, "update", async () => () => Promise.reject(new Error("no cgroup")));
    engine.faults.fail("update-container-resources/write-record");
    const rejected = assert.rejects(update(engine, id, 2048n), /fault at/);
    await time.advance(1_000);
    await rejected;
    const message =
      "a failed update was not undone, its limits still apply: cannot restore the former limits";
    assert.deepEqual(engine.logged("error"), [message]);
  });

  test("does not write to a container that exits meanwhile", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run(), before);
    const hang = engine.faults.hang("update-container-resources/write-record");
    const rejected = assert.rejects(update(engine, id, 2048n), {
      kind: "failed-precondition",
      message: /is exited/,
    });
    await hang.arrived;
    engine.world.runtime.exit(id);
    await new Promise(setImmediate);
    hang.release();
    await rejected;
    assert.equal(inForce(engine, id).recorded, 1024n);
  });

  test("ends with its caller, at its deadline, and when the container is removed", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    const id = await engine.start(await engine.run(), before);
    const caller = new AbortController();
    const first = runtime.trouble.hang("update");
    const left = assert.rejects(update(engine, id, 2048n, caller.signal), /the caller left/);
    await first.arrived;
    caller.abort(new Error("the caller left"));
    await left;
    const second = runtime.trouble.hang("update");
    const late = assert.rejects(update(engine, id, 2048n), { kind: "deadline-exceeded" });
    await second.arrived;
    await time.advance(30_000);
    await late;
    assert.deepEqual(inForce(engine, id), { recorded: 1024n, shown: 1024n, written: undefined });
    const third = runtime.trouble.hang("update");
    const aborted = assert.rejects(update(engine, id, 2048n), { kind: "aborted" });
    await third.arrived;
    await removeContainer(engine.containers, id, never);
    await aborted;
    assert.equal(engine.containers.store.peek(id), undefined);
  });

  test("adopts a process that the recovery could not adopt", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.start(await engine.run(), before);
    const next = await engine.restart();
    next.world.runtime.trouble.fail("load");
    await next.recover();
    next.world.runtime.trouble.heal("load");
    await update(next, id, 2048n);
    assert.equal(inForce(next, id).written, 2048n);
  });
});
