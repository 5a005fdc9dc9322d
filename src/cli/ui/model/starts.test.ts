import assert from "node:assert/strict";
import { test } from "node:test";
import type { OperationView } from "../../../page/view.ts";
import { startsOf } from "./starts.ts";

function operation(
  name: string,
  startedMs: number,
  tookMs: number,
  more: Partial<OperationView> = {},
): OperationView {
  return {
    operation: name,
    container: "",
    startedMs,
    tookMs,
    running: false,
    error: undefined,
    phases: [],
    ...more,
  };
}

const pod = { podId: "p1", namespace: "default", name: "web" };
const all = { sinceMs: 0, limit: 100 };

test("startsOf() joins the operations of a start, and separates a later one", () => {
  const operations = [
    operation("start-container", 300, 50, { container: "nginx" }),
    operation("run-pod-sandbox", 100, 150),
    operation("create-container", 270, 20, { container: "nginx" }),
    operation("exec-sync", 280, 5),
    operation("stop-container", 90_000, 5),
    operation("create-container", 100_000, 20, { container: "nginx" }),
    operation("start-container", 100_030, 30, { container: "nginx" }),
  ];
  const starts = startsOf([{ ...pod, operations }], all);
  assert.deepEqual(
    starts.map((start) => [
      start.key,
      start.startedMs,
      start.tookMs,
      start.state,
      start.isWhole,
      start.operations.map((each) => each.operation),
    ]),
    [
      ["p1@100000", 100_000, 60, "done", false, ["create-container", "start-container"]],
      [
        "p1@100",
        100,
        250,
        "done",
        true,
        ["run-pod-sandbox", "create-container", "start-container"],
      ],
    ],
  );
});

test("startsOf() waits for a long operation: a pod of two minutes is one start", () => {
  const operations = [
    operation("run-pod-sandbox", 0, 120_000),
    operation("create-container", 121_000, 1),
  ];
  assert.equal(startsOf([{ ...pod, operations }], all).length, 1);
});

test("startsOf() shows a failure and what is in progress, and has limits", () => {
  const failed = [operation("run-pod-sandbox", 5, 1, { error: "no" })];
  const running = [operation("run-pod-sandbox", 9, 1, { running: true })];
  const none = { podId: "", namespace: "default", name: "x" };
  const pods = [
    { ...none, operations: failed },
    { ...pod, operations: running },
  ];
  assert.deepEqual(
    startsOf(pods, all).map(({ key, state }) => [key, state]),
    [
      ["p1@9", "running"],
      ["default/x@5", "failed"],
    ],
  );
  assert.equal(startsOf(pods, { sinceMs: 6, limit: 9 }).length, 1);
  assert.equal(startsOf(pods, { sinceMs: 0, limit: 1 }).length, 1);
  const retries = Array.from({ length: 500 }, (_, at) => operation("create-container", at, 1));
  const [start] = startsOf([{ ...pod, operations: retries }], all);
  assert.ok(start !== undefined && start.operations.length < 100);
});
