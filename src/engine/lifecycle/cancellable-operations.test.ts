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

test("abort() ends the start of this container alone, while it is under way", () => {
  const starting = new CancellableOperations();
  using start = operation();
  const added = starting.add("a", start);
  using _made = starting.add("c", start, "pod");
  assert.deepEqual(starting.idsOfSandbox("pod"), ["c"]);
  starting.abort("b", "removed");
  assert.equal(start.signal.aborted, false);
  starting.abort("a", "removed");
  assert.equal(isKind(start.signal.reason, "aborted"), true);
  added[Symbol.dispose]();
});

test("forbid() lets no start begin until the last removal is over", () => {
  const starting = new CancellableOperations();
  using start = operation();
  const first = starting.block("a");
  const second = starting.block("a");
  first[Symbol.dispose]();
  assert.throws(
    () => starting.add("a", start),
    (error) => isKind(error, "failed-precondition"),
  );
  starting.add("b", start)[Symbol.dispose]();
  second[Symbol.dispose]();
  starting.add("a", start)[Symbol.dispose]();
});
