import assert from "node:assert/strict";
import { describe, mock, test } from "node:test";
import { setImmediate as turnOfLoop } from "node:timers/promises";
import { type UnpackTurn, UnpackTurns } from "./unpack-turns.ts";

const never = new AbortController().signal;
const MIB = 2 ** 20;

/** A clock under the control of the test, timers included. */
class TestClock implements Disposable {
  #nowMs = 0;
  readonly nowMs = (): number => this.#nowMs;

  constructor() {
    mock.timers.enable({ apis: ["setInterval"] });
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    mock.timers.tick(ms);
  }

  [Symbol.dispose](): void {
    mock.timers.reset();
  }
}

/** Whether a promise has settled once everything that is due has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  promise.then(settle, settle);
  await turnOfLoop();
  return settled;
}

async function take(turns: UnpackTurns, registry: string): Promise<UnpackTurn> {
  const turn = await turns.take(registry, never);
  assert.ok(turn !== undefined, `a slot for ${registry}`);
  return turn;
}

/** Turns of registries that have all become slow, so that none runs. */
async function takeSlow(
  turns: UnpackTurns,
  clock: TestClock,
  registries: readonly string[],
): Promise<readonly UnpackTurn[]> {
  const taken: UnpackTurn[] = [];
  for (const registry of registries) {
    const coming = take(turns, registry);
    clock.pass(1000);
    const turn = await coming;
    turn.idle();
    taken.push(turn);
  }
  return taken;
}

describe("UnpackTurns", () => {
  test("two run at once, and the next one when one of them ends", async () => {
    const turns = new UnpackTurns();
    const first = await take(turns, "a");
    await take(turns, "b");
    const third = take(turns, "c");
    const fourth = turns.takeForLocal(never);
    assert.equal(await isSettled(third), false);
    assert.equal(turns.waiting, 2);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await third;
    assert.equal(await isSettled(fourth), false);
  });

  test("who has bytes keeps its turn however long it works on them, while none waits", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const first = await take(turns, "a");
    first.idle();
    assert.equal(first.busy(MIB, never), undefined);
    clock.pass(600_000);
    first.idle();
    assert.equal(first.busy(MIB, never), undefined);
    const second = take(turns, "b");
    clock.pass(9_000);
    assert.equal(await isSettled(second), false);
  });

  test("who works on the same bytes for 10 s lets others run beside it, and runs on after them", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const busy = await take(turns, "a");
    const waiting = take(turns, "b");
    for (let at = 0; at < 10; at++) {
      clock.pass(9_000);
      busy.idle();
      assert.equal(busy.busy(1, never), undefined, "it takes bytes");
    }
    clock.pass(9_950);
    assert.equal(await isSettled(waiting), false);
    clock.pass(50);
    const other = await waiting;
    const third = take(turns, "c");
    busy.idle();
    const again = busy.busy(1, never);
    assert.ok(again !== undefined, "it has to wait for its turn");
    other[Symbol.dispose]();
    await again;
    // Its time begins again.
    clock.pass(9_950);
    assert.equal(await isSettled(third), false);
    busy[Symbol.dispose]();
    await third;
  });

  test("who waits for its registry lets others run, and runs again before newcomers", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const slow = await take(turns, "slow");
    slow.idle();
    const fast = take(turns, "fast");
    clock.pass(499);
    assert.equal(await isSettled(fast), false, "it may wait for a moment");
    clock.pass(1);
    const other = await fast;
    const newcomer = take(turns, "new");
    const again = slow.busy(100, never);
    assert.ok(again !== undefined, "it has to wait for its turn");
    assert.equal(await isSettled(again), false);
    other[Symbol.dispose]();
    await again;
    assert.equal(await isSettled(newcomer), false);
    slow[Symbol.dispose]();
    await newcomer;
  });

  test("a registry that trickles does not keep the turn by that", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const slow = await take(turns, "slow");
    const fast = take(turns, "fast");
    let again: Promise<void> | undefined;
    for (let waited = 0; again === undefined && waited < 1000; waited += 10) {
      slow.idle();
      clock.pass(10);
      again = slow.busy(100, never);
    }
    assert.ok(again !== undefined, "its turn is over after a second");
    await fast;
  });

  test("one that sends more than a MiB a second keeps its turn, with pauses, while none waits", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const steady = await take(turns, "steady");
    for (let at = 0; at < 1000; at++) {
      steady.idle();
      clock.pass(at % 10 === 0 ? 400 : 10);
      assert.equal(steady.busy(MIB / 10, never), undefined);
    }
    // From here on, bytes give back 2 s in total.
    const other = take(turns, "other");
    for (let at = 0; at < 10; at++) {
      steady.idle();
      clock.pass(100);
      assert.equal(steady.busy(MIB / 5, never), undefined);
    }
    assert.equal(await isSettled(other), false);
  });

  test("one that sends just enough yields all the same when others wait", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const steady = await take(turns, "steady");
    const other = take(turns, "other");
    let waitedMs = 0;
    while (!(await isSettled(other)) && waitedMs < 60_000) {
      steady.idle();
      clock.pass(50);
      waitedMs += 50;
      void steady.busy((MIB * 5) / 4 / 20, never);
    }
    assert.ok(waitedMs <= 3000, `the other one waited ${waitedMs} ms`);
    (await other)[Symbol.dispose]();
    steady[Symbol.dispose]();
  });

  test("none is waiting: nothing changes, however slow the registry is", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const slow = await take(turns, "slow");
    slow.idle();
    clock.pass(100_000);
    assert.equal(slow.busy(1, never), undefined);
    slow.idle();
    const other = turns.take("other", never);
    // It was slow before, so the new one gets its turn.
    clock.pass(50);
    assert.ok(await isSettled(other));
  });

  test("who gives up the wait for a turn takes none, and is not let in for", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const first = await take(turns, "a");
    first.idle();
    const leaver = new AbortController();
    const left = turns.take("b", leaver.signal);
    leaver.abort(new Error("enough"));
    await assert.rejects(left, /enough/);
    clock.pass(1000);
    assert.equal(first.busy(1, never), undefined, "none was waiting for its turn any more");
    first[Symbol.dispose]();
    await take(turns, "c");
  });

  test("one that had to yield has no grace when it runs again", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1, earnableMs: 0 });
    const slow = await take(turns, "slow");
    slow.idle();
    const coming = take(turns, "fast");
    clock.pass(500);
    const fast = await coming;
    const again = slow.busy(1, never);
    fast[Symbol.dispose]();
    await again;
    const other = take(turns, "other");
    slow.idle();
    clock.pass(50);
    assert.ok(await isSettled(other), "at the next poll");
  });

  test("a turn that is given back while it waits for its next run takes none", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs, running: 1 });
    const slow = await take(turns, "slow");
    slow.idle();
    const coming = take(turns, "fast");
    clock.pass(500);
    const fast = await coming;
    const again = slow.busy(1, never);
    slow[Symbol.dispose]();
    fast[Symbol.dispose]();
    await again;
    await take(turns, "other");
  });

  test("a registry gets three slots, and two are reserved for registries without any", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs });
    const slow = await takeSlow(turns, clock, ["a", "a", "a"]);
    assert.equal(await turns.take("a", never), undefined);
    await takeSlow(turns, clock, ["b", "b", "b", "c"]);
    assert.equal(await turns.take("c", never), undefined);
    await takeSlow(turns, clock, ["d"]);
    assert.equal(await turns.take("e", never), undefined);
    for (const turn of slow.slice(0, 2)) turn[Symbol.dispose]();
    await takeSlow(turns, clock, ["e"]);
  });

  test("without a free slot, local bytes still get their turn", async () => {
    using clock = new TestClock();
    const turns = new UnpackTurns({ nowMs: clock.nowMs });
    await takeSlow(turns, clock, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert.equal(await turns.take("i", never), undefined);
    const local = turns.takeForLocal(never);
    clock.pass(500);
    using _turn = await local;
  });

  test("one small blob runs beside large ones, and does not take the turn of a large one", async () => {
    const turns = new UnpackTurns({ running: 1, smallBytes: 100 });
    using large = await take(turns, "a");
    const next = turns.take("b", never, { bytes: 101 });
    const small = await turns.take("c", never, { bytes: 100 });
    assert.ok(small !== undefined);
    const second = turns.take("d", never, { bytes: 1 });
    assert.equal(await isSettled(Promise.race([next, second])), false);
    small[Symbol.dispose]();
    using secondTurn = await second;
    assert.ok(secondTurn !== undefined, "the next small one follows the first");
    assert.equal(await isSettled(next), false);
    large[Symbol.dispose]();
    using nextTurn = await next;
    assert.ok(nextTurn !== undefined);
  });

  describe("of several pulls", () => {
    const options = { running: 1, turnMs: 100, patienceMs: 1000 };
    const wanted = (
      turns: UnpackTurns,
      pull: { bytesLeft: number },
      registry = "a",
    ): Promise<UnpackTurn> => {
      const turn = turns.take(registry, never, { bytes: 100 * MIB, pull });
      return turn.then((taken) => taken ?? assert.fail("a slot"));
    };

    test("run in the order of the bytes that are left, those of one pull as they come", async () => {
      using clock = new TestClock();
      const turns = new UnpackTurns({ ...options, perRegistry: 8, nowMs: clock.nowMs });
      const running = await wanted(turns, { bytesLeft: 1 });
      const [large, small] = [{ bytesLeft: 900 }, { bytesLeft: 30 }];
      const order: string[] = [];
      const take = async (name: string, pull: { bytesLeft: number }): Promise<void> => {
        using _turn = await wanted(turns, pull);
        order.push(name);
      };
      const all = [
        take("large 1", large),
        take("small 1", small),
        take("large 2", large),
        take("small 2", small),
      ];
      running[Symbol.dispose]();
      await Promise.all(all);
      assert.deepEqual(order, ["small 1", "small 2", "large 1", "large 2"]);
    });

    test("a large one lets a small one run between two chunks, and continues after it", async () => {
      using clock = new TestClock();
      const turns = new UnpackTurns({ ...options, nowMs: clock.nowMs });
      const large = await wanted(turns, { bytesLeft: 900 });
      const similar = wanted(turns, { bytesLeft: 500 }, "b");
      large.idle();
      clock.pass(100);
      assert.equal(large.busy(MIB, never), undefined, "others are not much smaller");
      const small = wanted(turns, { bytesLeft: 30 }, "c");
      const again = large.busy(MIB, never);
      assert.ok(again !== undefined);
      const running = await small;
      assert.equal(await isSettled(again), false);
      running[Symbol.dispose]();
      (await similar)[Symbol.dispose]();
      await again;
      assert.equal(large.busy(MIB, never), undefined);
    });

    test("a turn is kept for a while, and no layer interrupts one of its own pull", async () => {
      using clock = new TestClock();
      const turns = new UnpackTurns({ ...options, nowMs: clock.nowMs });
      const pull = { bytesLeft: 900 };
      const large = await wanted(turns, pull);
      void wanted(turns, pull).catch(() => undefined);
      clock.pass(2000);
      assert.equal(large.busy(MIB, never), undefined);
      void wanted(turns, { bytesLeft: 30 }, "b").catch(() => undefined);
      const again = large.busy(MIB, never);
      assert.ok(again !== undefined);
    });

    test("a large one that has waited long runs for a turn, however many small ones come", async () => {
      using clock = new TestClock();
      const turns = new UnpackTurns({ ...options, nowMs: clock.nowMs });
      const first = await wanted(turns, { bytesLeft: 30 });
      const large = wanted(turns, { bytesLeft: 900 }, "b");
      const second = wanted(turns, { bytesLeft: 40 }, "c");
      clock.pass(1000);
      const third = wanted(turns, { bytesLeft: 20 }, "d");
      // Also while the small one that runs does not end.
      const again = first.busy(MIB, never);
      assert.ok(again !== undefined);
      const running = await large;
      assert.equal(running.busy(MIB, never), undefined, "its turn is not over");
      clock.pass(100);
      assert.ok(running.busy(MIB, never) !== undefined);
      // It has waited for longest.
      (await second)[Symbol.dispose]();
      await third;
    });
  });
});
