import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Semaphore } from "./semaphore.ts";

describe("Semaphore", () => {
  test("gives out as many permits as it has, in the order of requests", async () => {
    const semaphore = new Semaphore(3);
    const order: number[] = [];
    let inside = 0;
    let most = 0;
    const work = async (n: number): Promise<void> => {
      using _held = await semaphore.acquire();
      order.push(n);
      most = Math.max(most, ++inside);
      await turn();
      inside--;
    };
    const all = Array.from({ length: 20 }, (_, n) => n);
    await Promise.all(all.map(work));
    assert.equal(most, 3);
    assert.deepEqual(order, all);
  });

  test("a permit that is released twice counts once", async () => {
    const semaphore = new Semaphore(1);
    const held = await semaphore.acquire();
    const next = semaphore.acquire();
    assert.equal(semaphore.waiting, 1);
    held[Symbol.dispose]();
    held[Symbol.dispose]();
    (await next)[Symbol.dispose]();
    assert.equal(semaphore.waiting, 0);
    using _one = await semaphore.acquire();
    await assert.rejects(soon(semaphore), /waits/);
  });

  test("an aborted waiter gets no permit, and the others keep their order", async () => {
    const semaphore = new Semaphore(1);
    const held = await semaphore.acquire();
    const controller = new AbortController();
    const order: string[] = [];
    const first = semaphore.acquire().then((it) => {
      order.push("first");
      return it;
    });
    const gaveUp = semaphore.acquire(controller.signal);
    const last = semaphore.acquire().then((it) => {
      order.push("last");
      return it;
    });
    controller.abort(new Error("the client went away"));
    await assert.rejects(gaveUp, /the client went away/);
    held[Symbol.dispose]();
    (await first)[Symbol.dispose]();
    (await last)[Symbol.dispose]();
    assert.deepEqual(order, ["first", "last"]);
    using _free = await semaphore.acquire();
  });

  test("an abort at the moment of a release loses no permit", async () => {
    const semaphore = new Semaphore(1);
    const held = await semaphore.acquire();
    const controller = new AbortController();
    const waiting = semaphore.acquire(controller.signal);
    held[Symbol.dispose]();
    controller.abort();
    (await waiting)[Symbol.dispose]();
    using _free = await semaphore.acquire();
  });

  test("rejects an aborted signal", async () => {
    const semaphore = new Semaphore(1);
    await assert.rejects(semaphore.acquire(AbortSignal.abort(new Error("late"))), /late/);
    using _free = await semaphore.acquire();
  });
});

/** Aborts after a turn of the event loop. */
async function soon(semaphore: Semaphore): Promise<void> {
  const controller = new AbortController();
  const waiting = semaphore.acquire(controller.signal);
  setImmediate(() => {
    controller.abort(new Error("it waits"));
  });
  (await waiting)[Symbol.dispose]();
}
