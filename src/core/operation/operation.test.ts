import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isKind, RuntimeError } from "../../base/errors.ts";
import { type Logger, silentLogger } from "../../base/logger.ts";
import {
  crashPoints,
  type Faults,
  noFaults,
  Operations,
  type RunningOperation,
  stages,
} from "./index.ts";

function begin(
  options: {
    readonly timeoutMs?: number;
    readonly faults?: Faults;
    readonly nowMs?: () => number;
  } = {},
): { readonly operations: Operations; readonly operation: RunningOperation } {
  const clock = { nowMs: options.nowMs ?? (() => 0), nowNs: () => 0n };
  const operations = new Operations({ faults: options.faults ?? noFaults, clock });
  const operation = operations.begin({
    name: "run-pod-sandbox",
    subject: "pod-a",
    timeoutMs: options.timeoutMs ?? 60_000,
    log: silentLogger,
  });
  return { operations, operation };
}

describe("RunningOperation", () => {
  test("shows its stage, its age and the age of the stage", async () => {
    let now = 1_000;
    const { operations, operation } = begin({ nowMs: () => now });
    now = 1_005;
    assert.deepEqual(operations.views(), [
      {
        operation: "run-pod-sandbox",
        subject: "pod-a",
        stage: "begin",
        ageMs: 5,
        stageAgeMs: 5,
        stages: [],
      },
    ]);
    await operation.enter("write-record");
    now = 1_020;
    await operation.enter("add-network");
    now = 1_120;
    assert.deepEqual(operation.view(), {
      operation: "run-pod-sandbox",
      subject: "pod-a",
      stage: "add-network",
      ageMs: 120,
      stageAgeMs: 100,
      stages: operation.marks,
    });
    assert.deepEqual(operation.marks, [
      { stage: "write-record", atMs: 5 },
      { stage: "add-network", atMs: 20 },
    ]);
    operation[Symbol.dispose]();
    assert.deepEqual(operations.views(), []);
  });

  test("shows the item that its stage is working on, until the next stage begins", async () => {
    let now = 0;
    const { operation } = begin({ nowMs: () => now });
    using _end = operation;
    const shown = (): readonly unknown[] => {
      const { stage, detail, stageAgeMs } = operation.view();
      return [stage, detail, stageAgeMs];
    };
    await operation.enter("add-network");
    now = 5;
    operation.workOn("add-network", "bridge");
    now = 7;
    assert.deepEqual(shown(), ["add-network", "bridge", 2]);
    await operation.enter("network-plugin-done", "bridge");
    assert.deepEqual(shown(), ["network-plugin-done", undefined, 0]);
    operation.workOn("add-network", "portmap");
    now = 10;
    assert.deepEqual(shown(), ["add-network", "portmap", 3]);
    assert.match(operation.explain(new Error("no")).message, /\(stage add-network, 3 ms\)/);
    await operation.undoing("write-record");
    assert.deepEqual(shown(), ["write-record", undefined, 0]);
    assert.deepEqual(
      operation.marks.map(({ stage }) => stage),
      ["add-network", "network-plugin-done", "write-record"],
    );
  });

  test("explain() names the operation, its subject and the stage, and keeps the kind", async () => {
    let now = 0;
    const { operation } = begin({ nowMs: () => now });
    using _end = operation;
    await operation.enter("add-network");
    now = 7;
    const error = operation.explain(new RuntimeError("unavailable", "no plugin"));
    assert.equal(error.kind, "unavailable");
    assert.equal(error.message, 'run pod sandbox "pod-a" (stage add-network, 7 ms): no plugin');
  });

  test("ends its waits at the deadline, and blames the deadline and the stage", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const { operation } = begin({ timeoutMs: 2_500 });
    using _end = operation;
    await operation.enter("add-network");
    context.mock.timers.tick(2_499);
    assert.equal(operation.signal.aborted, false);
    context.mock.timers.tick(1);
    // Plugin calls, fetches and sleeps reject with such an error when they are aborted.
    const aborted = await sleep(1, undefined, { signal: operation.signal }).catch(
      (error: unknown) => error,
    );
    for (const thrown of [operation.signal.reason, aborted, new Error("killed")]) {
      const error = operation.explain(thrown);
      assert.equal(error.kind, "deadline-exceeded");
      assert.match(error.message, /\(stage add-network, 0 ms\): took longer than 2\.5 s$/);
    }
    await assert.rejects(operation.enter("make-files"), (error) =>
      isKind(error, "deadline-exceeded"),
    );
    assert.equal(operation.stage, "add-network");
  });

  test("explain() keeps an error of another kind after an abort", () => {
    const { operation } = begin();
    using _end = operation;
    operation.abort(new RuntimeError("aborted", "stopped"));
    const error = operation.explain(new RuntimeError("resource-exhausted", "disk full"));
    assert.equal(error.kind, "resource-exhausted");
  });

  test("abort() keeps the first reason, and enter() rejects afterwards", async () => {
    const { operation } = begin();
    using _end = operation;
    operation.abort(new RuntimeError("aborted", "a stop came"));
    operation.abort(new RuntimeError("deadline-exceeded", "late"));
    await assert.rejects(operation.enter("write-record"), {
      kind: "aborted",
      message: "a stop came",
    });
    assert.deepEqual(operation.marks, []);
  });

  test("an abort while a fault holds the stage ends the stage's beginning", async () => {
    const points: string[] = [];
    const { promise: gate, resolve: open } = Promise.withResolvers<undefined>();
    const faults: Faults = {
      at: (point) => {
        points.push(point);
        return gate;
      },
    };
    const { operation } = begin({ faults });
    using _end = operation;
    const entering = operation.enter("pin-namespaces");
    operation.abort(new RuntimeError("aborted", "a stop came"));
    open(undefined);
    await assert.rejects(entering, /a stop came/);
    assert.deepEqual(points, ["run-pod-sandbox/pin-namespaces"]);
  });

  test("a fault makes the stage fail after it was entered", async () => {
    const { operation } = begin({ faults: { at: () => Promise.reject(new Error("on purpose")) } });
    using _end = operation;
    await assert.rejects(operation.enter("pin-namespaces"), /on purpose/);
    assert.equal(operation.stage, "pin-namespaces");
  });

  test("has no deadline after its end", (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const { operation } = begin({ timeoutMs: 10 });
    operation[Symbol.dispose]();
    context.mock.timers.tick(100);
    assert.equal(operation.signal.aborted, false);
  });
});

test("crashPoints name every stage of every operation once", () => {
  const count = Object.values(stages).reduce((sum, list) => sum + list.length, 0);
  assert.equal(crashPoints.length, count);
  assert.equal(new Set(crashPoints).size, count);
  assert.ok(crashPoints.includes("remove-pod-sandbox/delete-record"));
});

test("abortAll() aborts operations in progress and later ones", () => {
  const { operations, operation } = begin();
  operations.abortAll(new RuntimeError("unavailable", "the end"));
  const options = { name: "recover", subject: "x", timeoutMs: 1_000, log: silentLogger } as const;
  using later = operations.begin(options);
  for (const one of [operation, later]) {
    assert.equal(isKind(one.signal.reason, "unavailable"), true);
    one[Symbol.dispose]();
  }
});

test("a deadline beyond the maximum of a timer is not over at once", async () => {
  const { operation } = begin({ timeoutMs: 2 ** 40 });
  using _over = operation;
  await sleep(5);
  assert.equal(operation.signal.aborted, false);
});

test("run() ends its operation whatever happens, and explains a failure by its stage", async () => {
  const clock = { nowMs: () => 0, nowNs: () => 0n };
  const operations = new Operations({ faults: noFaults, clock });
  const options = {
    name: "stop-pod-sandbox",
    subject: "pod-a",
    timeoutMs: 1_000,
    log: silentLogger,
  } as const;
  assert.equal(await operations.run(options, () => Promise.resolve("done")), "done");
  await assert.rejects(
    operations.run(options, async (operation) => {
      assert.equal(operations.views().length, 1);
      await operation.enter("remove-network");
      throw new RuntimeError("not-found", "no such plugin");
    }),
    (error) =>
      isKind(error, "not-found") &&
      /stop pod sandbox "pod-a" \(stage remove-network, .*no such plugin/.test(String(error)),
  );
  assert.deepEqual(operations.views(), []);
});

test("observe() reports operations as they begin and end, with their object and error", async () => {
  const { operations } = begin();
  const told: unknown[] = [];
  operations.observe({
    began: ({ name, object }) => told.push(["began", name, object]),
    ended: ({ name }, { error }) => told.push(["ended", name, error?.includes("no room")]),
  });
  const options = { subject: "pod-b", timeoutMs: 1_000, log: silentLogger } as const;
  await operations.run({ ...options, name: "stop-pod-sandbox" }, () => Promise.resolve());
  const failing = { ...options, name: "run-pod-sandbox", object: "id-b" } as const;
  await assert.rejects(operations.run(failing, () => Promise.reject(new Error("no room"))));
  assert.deepEqual(told, [
    ["began", "stop-pod-sandbox", "pod-b"],
    ["ended", "stop-pod-sandbox", undefined],
    ["began", "run-pod-sandbox", "id-b"],
    ["ended", "run-pod-sandbox", true],
  ]);
});

test("each stage is a line of the log at debug level", async () => {
  const operations = new Operations({
    faults: noFaults,
    clock: { nowMs: () => 0, nowNs: () => 0n },
  });
  const lines: unknown[] = [];
  const log: Logger = { ...silentLogger, debug: (...line) => void lines.push(line) };
  const options = { subject: "web_default_u_0", timeoutMs: 1_000, log } as const;
  await operations.run({ ...options, name: "run-pod-sandbox" }, async (operation) => {
    await operation.enter("network-plugin-done", "bridge");
    await operation.undoing("write-record");
  });
  const common = { operation: "run-pod-sandbox", subject: "web_default_u_0", atMs: 0 };
  assert.deepEqual(lines, [
    ["stage", { ...common, stage: "network-plugin-done", detail: "bridge" }],
    ["stage", { ...common, stage: "write-record" }],
  ]);
});

test("observers can run the work of an operation in a context of their own, nested and with its result", async () => {
  const { operations } = begin();
  const order: string[] = [];
  const contexts = [1, 2].map((at) => ({
    within: async <T>({ name }: { readonly name: string }, work: () => Promise<T>): Promise<T> => {
      order.push(`enter ${at} ${name}`);
      try {
        return await work();
      } finally {
        order.push(`leave ${at}`);
      }
    },
  }));
  operations.observe({});
  for (const observer of contexts) operations.observe(observer);
  const options = {
    name: "stop-pod-sandbox",
    subject: "pod-b",
    timeoutMs: 1_000,
    log: silentLogger,
  } as const;
  const result = await operations.run(options, () => {
    order.push("work");
    return Promise.resolve(7);
  });
  assert.equal(result, 7);
  const [first, second] = ["enter 1 stop-pod-sandbox", "enter 2 stop-pod-sandbox"];
  assert.deepEqual(order, [second, first, "work", "leave 1", "leave 2"]);
  await assert.rejects(
    operations.run(options, () => Promise.reject(new Error("no room"))),
    /no room$/,
  );
});

test("failedAt is the stage before the undo", async () => {
  const { operations } = begin();
  let failed: RunningOperation | undefined;
  operations.observe({ ended: (operation) => (failed = operation) });
  const options = { subject: "pod-b", timeoutMs: 1_000, log: silentLogger } as const;
  const work = async (operation: RunningOperation): Promise<void> => {
    assert.equal(operation.failedAt, undefined);
    await operation.enter("add-network");
    operation.workOn("add-network", "bridge");
    await operation.undoing("pin-namespaces");
    throw new Error("no room");
  };
  await assert.rejects(operations.run({ ...options, name: "run-pod-sandbox" }, work));
  const { stage, detail, stages = [] } = failed?.failedAt ?? {};
  assert.deepEqual([stage, detail, stages.length], ["add-network", "bridge", 1]);
  assert.equal(failed?.marks.length, 2);
});

test("failedIn() names an earlier stage in the error and the failure, with the time since it began", async () => {
  let now = 0;
  const { operations } = begin({ nowMs: () => now });
  let failed: RunningOperation | undefined;
  operations.observe({ ended: (operation) => (failed = operation) });
  const plan = { name: "exec-sync", subject: "c", timeoutMs: 1_000, log: silentLogger } as const;
  const work = async (operation: RunningOperation): Promise<void> => {
    await operation.enter("start-process");
    now += 3;
    await operation.enter("wait-for-end");
    operation.failedIn("start-process");
    now += 100;
    throw new Error("no program");
  };
  await assert.rejects(operations.run(plan, work), {
    message: 'exec sync "c" (stage start-process, 3 ms): no program',
  });
  assert.deepEqual(failed?.failure, { stage: "start-process", kind: "unknown" });
  assert.deepEqual(
    failed.failedAt?.stages.map(({ stage }) => stage),
    ["start-process"],
  );
});

test("failure has the stage and the kind of a failed operation, not a stage of its undo", async () => {
  const { operations } = begin();
  const failures: unknown[] = [];
  operations.observe({ ended: ({ failure }) => failures.push(failure) });
  const options = { subject: "pod-b", timeoutMs: 1_000, log: silentLogger } as const;
  const failing = operations.run({ ...options, name: "run-pod-sandbox" }, async (operation) => {
    await operation.enter("add-network");
    assert.equal(operation.failure, undefined);
    await operation.undoing("prepare-cgroup");
    throw new RuntimeError("unavailable", "no network");
  });
  await assert.rejects(failing);
  await operations.run({ ...options, name: "stop-pod-sandbox" }, () => Promise.resolve());
  assert.deepEqual(failures, [{ stage: "add-network", kind: "unavailable" }, undefined]);
});
