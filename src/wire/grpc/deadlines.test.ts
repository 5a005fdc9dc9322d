import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { Deadlines, type TimedCall } from "./deadlines.ts";

function call(delayMs: number, expire: () => void): TimedCall {
  return { expiresAtMs: performance.now() + delayMs, deadlineIndex: -1, expire };
}

/** The timer of deadlines does not keep the process running. */
function running<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => undefined, 1000);
  return promise.finally(() => clearInterval(timer));
}

test("calls expire in the order of their deadlines, not early, and those that ended do not", async () => {
  const deadlines = new Deadlines();
  const expired: number[] = [];
  const done = Promise.withResolvers<undefined>();
  const start = performance.now();
  const add = (delayMs: number, last = false): TimedCall => {
    const one = call(delayMs, () => {
      assert.ok(performance.now() - start >= delayMs);
      expired.push(delayMs);
      if (last) done.resolve(undefined);
    });
    deadlines.add(one);
    return one;
  };
  add(60, true);
  const ended = [add(10), add(30), add(1e12)];
  add(20);
  add(40);
  add(5);
  for (const one of ended) deadlines.remove(one);
  for (const one of ended) deadlines.remove(one);
  await running(done.promise);
  assert.deepEqual(expired, [5, 20, 40, 60]);
});

test("a call that expires may end others and begin new ones", async () => {
  const deadlines = new Deadlines();
  const done = Promise.withResolvers<undefined>();
  let other = 0;
  const second = call(2, () => (other += 1));
  deadlines.add(
    call(0, () => {
      deadlines.remove(second);
      deadlines.add(call(0, () => done.resolve(undefined)));
    }),
  );
  deadlines.add(second);
  // Both have expired before the timer is handled.
  while (performance.now() <= second.expiresAtMs);
  await running(done.promise);
  assert.equal(other, 0);
});
