import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { isKind, RuntimeError } from "../../base/errors.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { FakeSnapshots } from "../testing/fake-snapshots.ts";
import {
  exportSnapshot,
  importSnapshot,
  listSnapshots,
  removeSnapshot,
  type SnapshotContext,
  takeSnapshot,
} from "./index.ts";

function contextOf(
  t: TestContext,
  changes: Partial<SnapshotContext> = {},
): {
  readonly engine: FakeEngine;
  readonly snapshots: FakeSnapshots;
  readonly context: SnapshotContext;
} {
  const engine = new FakeEngine(t);
  const snapshots = new FakeSnapshots();
  const context = {
    snapshots,
    sandboxes: engine.sandboxes.store,
    containers: engine.containers.store,
    capture: snapshots.capture,
    trust: "own" as const,
    operations: engine.containers.operations,
    log: engine.containers.log,
    ...changes,
  };
  return { engine, snapshots, context };
}

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(text));
}

describe("takeSnapshot()", () => {
  test("captures the containers that run, by a prefix of the pod's id", async (t) => {
    const asked: unknown[] = [];
    const { engine, snapshots, context } = contextOf(t, {
      capture: (request) => {
        asked.push(request);
        return snapshots.capture(request);
      },
    });
    const pod = await engine.run();
    const running = await engine.start(pod, { metadata: { name: "runs" } });
    await engine.create(pod, { metadata: { name: "created" } });
    const request = { sandboxId: pod.slice(0, 12), closeTcp: true };
    const taken = await takeSnapshot(context, request, never);
    assert.deepEqual(asked, [
      { sandboxId: pod, containerIds: [running], directory: "/snapshots/.new-0", closeTcp: true },
    ]);
    assert.deepEqual(await listSnapshots(context), [taken]);
  });

  test("refuses a pod in which nothing runs, and one that does not exist", async (t) => {
    const { engine, snapshots, context } = contextOf(t);
    const pod = await engine.run();
    await engine.create(pod);
    await assert.rejects(takeSnapshot(context, { sandboxId: pod, closeTcp: false }, never), {
      kind: "failed-precondition",
      message: `take a snapshot of pod "${pod}": none of its containers runs; start one first`,
    });
    const missing = takeSnapshot(context, { sandboxId: "none", closeTcp: false }, never);
    await assert.rejects(missing, { kind: "not-found" });
    assert.equal(snapshots.drafts.size, 0);
  });

  test("leaves nothing when the capture or the publication fails, or the caller leaves", async (t) => {
    const fail = new RuntimeError("failed-precondition", "it has a socket");
    const left = new AbortController();
    const captures: SnapshotContext["capture"][] = [
      () => Promise.reject(fail),
      () => {
        left.abort(new RuntimeError("canceled", "gone"));
        return Promise.resolve();
      },
      () => Promise.resolve(),
    ];
    const { engine, snapshots, context } = contextOf(t, {
      capture: (request, signal) => captures.shift()?.(request, signal) ?? Promise.resolve(),
    });
    const pod = await engine.run();
    await engine.start(pod);
    const request = { sandboxId: pod, closeTcp: false };
    await assert.rejects(takeSnapshot(context, request, never), {
      kind: "failed-precondition",
      message: `take a snapshot of pod "${pod}": it has a socket`,
    });
    const canceled = takeSnapshot(context, request, left.signal);
    await assert.rejects(canceled, (error) => isKind(error, "canceled"));
    snapshots.trouble.fail("publish", new RuntimeError("resource-exhausted", "full"));
    await assert.rejects(takeSnapshot(context, request, never), { kind: "resource-exhausted" });
    assert.equal(snapshots.drafts.size, 0);
    assert.deepEqual(snapshots.all, []);
  });
});

describe("snapshots", () => {
  test("are removed by a unique prefix, and an unknown one is ignored", async (t) => {
    const { snapshots, context } = contextOf(t);
    for (const text of ["a", "b"]) await importSnapshot(context, bytesOf(text), never);
    await assert.rejects(removeSnapshot(context, "0"), { kind: "invalid-argument" });
    await assert.rejects(removeSnapshot(context, ""), { kind: "invalid-argument" });
    await removeSnapshot(context, "00");
    await removeSnapshot(context, "ff");
    assert.deepEqual(
      snapshots.all.map(({ podName }) => podName),
      ["b"],
    );
  });

  test("stay while a container is to start from them", async (t) => {
    const { engine, context } = contextOf(t);
    const { id, directory } = await importSnapshot(context, bytesOf("a"), never);
    const pod = await engine.run();
    const created = await engine.create(pod);
    const restore = { directory: `${directory}/containers/app`, owned: false, closeTcp: false };
    engine.containers.store.update(created, (now) => ({ ...now, restore }));
    const refused = {
      kind: "failed-precondition",
      message: new RegExp(`^remove snapshot "${id}": container "${created}" is to start from it`),
    };
    await assert.rejects(removeSnapshot(context, id), refused);
    const container = engine.containers.store.get(created);
    const creating = { ...container, state: { name: "creating" } } as const;
    const containers = { ...context.containers, all: () => [creating].values() };
    await assert.rejects(removeSnapshot({ ...context, containers }, id), refused);
    engine.containers.store.update(created, (now) => ({
      ...now,
      state: {
        name: "exited",
        startedAtNs: 1n,
        finishedAtNs: 2n,
        exitCode: 0,
        reason: "Completed",
        message: "",
      },
    }));
    await removeSnapshot(context, id);
    assert.deepEqual(await listSnapshots(context), []);
  });

  test("are exported, and an unknown one is an error", async (t) => {
    const { context } = contextOf(t);
    const { id } = await importSnapshot(context, bytesOf("a"), never);
    const parts: Uint8Array[] = [];
    for await (const part of exportSnapshot(context, id.slice(0, 2), never)) parts.push(part);
    assert.equal(Buffer.concat(parts).toString(), id);
    await assert.rejects(exportSnapshot(context, "ff", never).next(), { kind: "not-found" });
  });

  test("are imported as far as the configuration trusts them", async (t) => {
    const { context, snapshots } = contextOf(t, { trust: "any" });
    const { podName } = await importSnapshot(context, bytesOf("web"), never);
    assert.deepEqual([podName, snapshots.trusts], ["web", ["any"]]);
    await assert.rejects(importSnapshot({ ...context, trust: "off" }, bytesOf("web"), never), {
      kind: "permission-denied",
      message: /checkpoint.restore = "off"/,
    });
    assert.equal(snapshots.all.length, 1);
  });
});
