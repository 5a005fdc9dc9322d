import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { noFaults, Operations, type RunningOperation } from "../../core/operation/index.ts";
import { CancellableOperations } from "./cancellable-operations.ts";

function operation(): RunningOperation {
  const operations = new Operations({
    faults: noFaults,
    clock: { nowMs: () => 0, nowNs: () => 0n },
  });
  return operations.begin({
    name: "start-container",
    subject: "a",
    timeoutMs: 60_000,
    log: silentLogger,
  });
}

test("abort() aborts only the operation of this container, while it is in progress", () => {
  const cancellable = new CancellableOperations();
  using start = operation();
  const added = cancellable.add("a", start);
  using _made = cancellable.add("c", start, "pod");
  assert.deepEqual(cancellable.idsOfSandbox("pod"), ["c"]);
  cancellable.abort("b", "removed");
  assert.equal(start.signal.aborted, false);
  cancellable.abort("a", "removed");
  assert.equal(isKind(start.signal.reason, "aborted"), true);
  added[Symbol.dispose]();
});

test("block() makes add() fail until the last removal is over", () => {
  const cancellable = new CancellableOperations();
  using start = operation();
  const first = cancellable.block("a");
  const second = cancellable.block("a");
  first[Symbol.dispose]();
  assert.throws(
    () => cancellable.add("a", start),
    (error) => isKind(error, "failed-precondition"),
  );
  cancellable.add("b", start)[Symbol.dispose]();
  second[Symbol.dispose]();
  cancellable.add("a", start)[Symbol.dispose]();
});
