import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { KeyedLock } from "./keyed-lock.ts";

describe("KeyedLock", () => {
  test("gives a key to one holder at a time, first come first served", async () => {
    const lock = new KeyedLock();
    const log: string[] = [];
    let inside = 0;
    const work = async (name: string): Promise<void> => {
      using _held = await lock.acquire("a");
      assert.equal(++inside, 1);
      log.push(name);
      await turn();
      inside--;
    };
    await Promise.all(["1", "2", "3", "4", "5"].map(work));
    assert.deepEqual(log, ["1", "2", "3", "4", "5"]);
  });

  test("keys do not wait for each other", async () => {
    const lock = new KeyedLock();
    using _a = await lock.acquire("a");
    using _b = await lock.acquire("b");
    assert.ok(lock.isHeld("a") && lock.isHeld("b"));
  });

  test("knows whether a key is held, and forgets a key that is free", async () => {
    const lock = new KeyedLock();
    assert.equal(lock.isHeld("a"), false);
    const held = await lock.acquire("a");
    assert.equal(lock.isHeld("a"), true);
    held[Symbol.dispose]();
    await turn();
    assert.equal(lock.isHeld("a"), false);
  });

  test("a second release by one holder does not release the key of the next one", async () => {
    const lock = new KeyedLock();
    const first = await lock.acquire("a");
    const waiting = lock.acquire("a");
    first[Symbol.dispose]();
    const second = await waiting;
    let third = false;
    const last = lock.acquire("a").then((held) => {
      third = true;
      return held;
    });
    first[Symbol.dispose]();
    await turn();
    assert.equal(third, false);
    second[Symbol.dispose]();
    (await last)[Symbol.dispose]();
  });

  test("an aborted waiter neither frees the key nor blocks the next waiter", async () => {
    const lock = new KeyedLock();
    const first = await lock.acquire("a");
    const controller = new AbortController();
    const gaveUp = lock.acquire("a", controller.signal);
    let entered = false;
    const behind = lock.acquire("a").then((held) => {
      entered = true;
      return held;
    });
    controller.abort(new Error("the client went away"));
    await assert.rejects(gaveUp, /the client went away/);
    await turn();
    assert.equal(entered, false);
    assert.equal(lock.isHeld("a"), true);
    first[Symbol.dispose]();
    (await behind)[Symbol.dispose]();
    await turn();
    assert.equal(lock.isHeld("a"), false);
  });

  test("after the last waiter was aborted, the key is held, then free", async () => {
    const lock = new KeyedLock();
    const first = await lock.acquire("a");
    const controller = new AbortController();
    const gaveUp = lock.acquire("a", controller.signal);
    controller.abort();
    await assert.rejects(gaveUp, { name: "AbortError" });
    await turn();
    assert.equal(lock.isHeld("a"), true);
    first[Symbol.dispose]();
    using _held = await lock.acquire("a");
  });

  test("rejects an aborted signal, even when the key is free", async () => {
    const lock = new KeyedLock();
    await assert.rejects(lock.acquire("a", AbortSignal.abort(new Error("late"))), /late/);
    await turn();
    assert.equal(lock.isHeld("a"), false);
  });

  test("an abort after the key was given has no effect", async () => {
    const lock = new KeyedLock();
    const controller = new AbortController();
    const held = await lock.acquire("a", controller.signal);
    controller.abort();
    await turn();
    assert.equal(lock.isHeld("a"), true);
    held[Symbol.dispose]();
  });
});
