import assert from "node:assert/strict";
import { test } from "node:test";
import { OperationHistory, type PastOperation } from "./history.ts";

function past(operation: string, error?: string): PastOperation {
  const rest = error === undefined ? {} : { error };
  return { operation, subject: "s", startedMs: 0, tookMs: 1, stages: [], ...rest };
}

const names = (history: OperationHistory, object: string): readonly string[] =>
  history.of(object).map(({ operation, error = "" }) => `${operation}${error}`);

test("OperationHistory keeps the create of an object, and the newest of the later operations", () => {
  const history = new OperationHistory();
  history.add("a", past("create-container"));
  history.add("a", past("start-container"));
  for (let turn = 0; turn < 30; turn++) history.add("a", past("stop-container", ` ${turn}`));
  const all = names(history, "a");
  assert.equal(all.length, 12);
  assert.deepEqual(all.slice(0, 3), ["create-container", "start-container", "stop-container 20"]);
  assert.equal(all.at(-1), "stop-container 29");
  assert.deepEqual(history.of("b"), []);
});

test("OperationHistory forgets removed objects first", () => {
  const history = new OperationHistory({ objects: 2, removed: 1 });
  history.add("a", past("run-pod-sandbox"));
  history.add("b", past("run-pod-sandbox"));
  history.add("b", past("remove-pod-sandbox"));
  history.add("c", past("run-pod-sandbox"));
  assert.deepEqual(names(history, "b"), ["run-pod-sandbox", "remove-pod-sandbox"]);
  history.add("c", past("remove-pod-sandbox"));
  assert.deepEqual(history.of("b"), []);
  assert.equal(names(history, "a").length, 1);
  history.add("d", past("run-pod-sandbox"));
  history.add("e", past("run-pod-sandbox"));
  assert.deepEqual(history.of("a"), []);
  assert.equal(names(history, "c").length, 2);
});

test("OperationHistory keeps failures of all objects, and only failures of execs and rotations", () => {
  const history = new OperationHistory();
  for (const name of ["exec-sync", "reopen-log"]) history.add("a", past(name));
  assert.deepEqual(history.of("a"), []);
  for (const name of ["exec-sync", "reopen-log"]) history.add("a", past(name, " failed"));
  for (let turn = 0; turn < 70; turn++)
    history.add(`p${turn}`, past("run-pod-sandbox", ` ${turn}`));
  assert.deepEqual(names(history, "a"), ["exec-sync failed", "reopen-log failed"]);
  assert.equal(history.failures().length, 64);
  assert.equal(history.failures().at(-1)?.error, " 69");
});

test("OperationHistory evicts failed creates before existing objects", () => {
  const history = new OperationHistory({ objects: 2, removed: 2 });
  history.add("a", past("run-pod-sandbox"));
  for (let turn = 0; turn < 9; turn++) history.add(`failed${turn}`, past("run-pod-sandbox", " no"));
  history.add("image", past("pull-image"));
  assert.deepEqual(names(history, "a"), ["run-pod-sandbox"]);
  assert.deepEqual(history.of("failed0"), []);
  assert.deepEqual(names(history, "failed8"), ["run-pod-sandbox no"]);
});

test("OperationHistory puts what it restores before what it has", () => {
  const history = new OperationHistory({ objects: 2, removed: 1 });
  history.add("a", past("stop-container", " now"));
  history.restore([
    { object: "gone", past: past("run-pod-sandbox") },
    { object: "b", past: past("run-pod-sandbox") },
    { object: "a", past: past("create-container") },
    { object: "a", past: past("start-container", " before") },
  ]);
  assert.deepEqual(names(history, "a"), [
    "create-container",
    "start-container before",
    "stop-container now",
  ]);
  assert.deepEqual(names(history, "b"), ["run-pod-sandbox"]);
  assert.deepEqual(history.of("gone"), []);
  assert.deepEqual(
    history.failures().map(({ error }) => error),
    [" before", " now"],
  );
});

test("OperationHistory.pulls() has the pulls, in the order of their ends, also after a restart", () => {
  const history = new OperationHistory();
  const of = (operation: string, subject: string, startedMs: number, tookMs: number) =>
    history.add(subject, { operation, subject, startedMs, tookMs, stages: [] });
  of("pull-layer", "layer", 2, 3);
  of("remove-pod-sandbox", "pod", 3, 1);
  of("pull-image", "image", 1, 9);
  history.restore([
    {
      object: "old",
      past: { operation: "pull-image", subject: "old", startedMs: 0, tookMs: 1, stages: [] },
    },
  ]);
  assert.deepEqual(
    history.pulls().map(({ subject }) => subject),
    ["old", "layer", "image"],
  );
});
