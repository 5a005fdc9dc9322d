import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { describe, test } from "node:test";
import { CallScheduler } from "./call-scheduler.ts";

function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** Schedules tasks of these durations in milliseconds. Returns the turn of the event loop in which each one ran. */
async function turnsOf(budgetMs: number, tasks: readonly number[]): Promise<readonly number[]> {
  const scheduler = new CallScheduler(budgetMs);
  const ran: number[] = [];
  let turn = 0;
  let left = tasks.length;
  const count = (): void => {
    turn++;
    if (left > 0) setImmediate(count);
  };
  await new Promise<void>((resolve) => {
    setImmediate(count);
    tasks.forEach((ms, at) => {
      scheduler.schedule(() => {
        busy(ms);
        ran[at] = turn;
        if (--left === 0) resolve();
      });
    });
  });
  return ran;
}

describe("CallScheduler", () => {
  test("a single call starts at once", () => {
    const scheduler = new CallScheduler(1);
    let hasStarted = false;
    scheduler.schedule(() => {
      hasStarted = true;
    });
    assert.equal(hasStarted, true);
  });

  test("calls within the budget start in the same turn", async () => {
    assert.deepEqual(await turnsOf(60_000, [0, 0, 0]), [0, 0, 0]);
  });

  test("calls over the budget start in later turns", async () => {
    assert.deepEqual(await turnsOf(1, [2, 2, 2]), [0, 1, 2]);
  });

  test("keeps the order of calls, also of those that arrive while others wait", async () => {
    const scheduler = new CallScheduler(1);
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      scheduler.schedule(() => {
        busy(2);
        order.push("first");
      });
      scheduler.schedule(() => {
        order.push("second");
        scheduler.schedule(() => {
          order.push("fourth");
          resolve();
        });
      });
      scheduler.schedule(() => order.push("third"));
    });
    assert.deepEqual(order, ["first", "second", "third", "fourth"]);
  });
});
