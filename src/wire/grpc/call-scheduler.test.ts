import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { describe, test } from "node:test";
import { CallScheduler } from "./call-scheduler.ts";

function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** Begins works of so many milliseconds and tells in which turn of the event loop each one ran. */
async function turnsOf(budgetMs: number, works: readonly number[]): Promise<readonly number[]> {
  const turns = new CallScheduler(budgetMs);
  const ran: number[] = [];
  let turn = 0;
  let left = works.length;
  const count = (): void => {
    turn++;
    if (left > 0) setImmediate(count);
  };
  await new Promise<void>((resolve) => {
    setImmediate(count);
    works.forEach((ms, at) => {
      turns.begin(() => {
        busy(ms);
        ran[at] = turn;
        if (--left === 0) resolve();
      });
    });
  });
  return ran;
}

describe("Turns", () => {
  test("what comes alone begins at once", () => {
    const turns = new CallScheduler(1);
    let begun = false;
    turns.begin(() => {
      begun = true;
    });
    assert.equal(begun, true);
  });

  test("what fits into a turn begins in it", async () => {
    assert.deepEqual(await turnsOf(60_000, [0, 0, 0]), [0, 0, 0]);
  });

  test("what is over the budget waits for the loop, a turn each time", async () => {
    assert.deepEqual(await turnsOf(1, [2, 2, 2]), [0, 1, 2]);
  });

  test("keeps the order, also of what comes while others wait", async () => {
    const turns = new CallScheduler(1);
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      turns.begin(() => {
        busy(2);
        order.push("first");
      });
      turns.begin(() => {
        order.push("second");
        turns.begin(() => {
          order.push("fourth");
          resolve();
        });
      });
      turns.begin(() => order.push("third"));
    });
    assert.deepEqual(order, ["first", "second", "third", "fourth"]);
  });
});
