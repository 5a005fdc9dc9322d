import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SyncGate } from "./sync-gate.ts";
import { noAbort } from "./testing/node.ts";

const times = { openMs: 5, maxOpenMs: 20, shutMs: 5 };

describe("SyncGate", () => {
  it("lets verbs hold it together, and a synchronization have it alone", async () => {
    const gate = new SyncGate();
    const [one, two] = [await gate.hold(noAbort), await gate.hold(noAbort)];
    const order: string[] = [];
    let late: Promise<void> | undefined;
    const alone = gate.alone(async () => {
      order.push("begins");
      late = gate.hold(noAbort).then((held) => {
        order.push("held");
        held[Symbol.dispose]();
      });
      await new Promise(setImmediate);
      order.push("ends");
    }, noAbort);
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    await new Promise(setImmediate);
    assert.deepEqual(order, []);
    two[Symbol.dispose]();
    await alone;
    await late;
    assert.deepEqual(order, ["begins", "ends", "held"]);
  });

  it("gives one synchronization after another its turn", async () => {
    const gate = new SyncGate();
    let running = 0;
    const work = async (): Promise<void> => {
      running += 1;
      assert.equal(running, 1);
      await new Promise(setImmediate);
      running -= 1;
    };
    await Promise.all([1, 2, 3].map(() => gate.alone(work, noAbort)));
  });

  it("finds a moment for a synchronization between verbs that always overlap", async () => {
    const gate = new SyncGate(times);
    let isDone = false;
    const verb = async (): Promise<void> => {
      while (!isDone) {
        using _held = await gate.hold(noAbort);
        await new Promise(setImmediate);
      }
    };
    const verbs = [verb(), new Promise(setImmediate).then(verb)];
    await gate.alone(() => Promise.resolve(), noAbort);
    isDone = true;
    await Promise.all(verbs);
  });

  it("lets verbs in again while one of them does not end", async () => {
    const gate = new SyncGate(times);
    const stuck = await gate.hold(noAbort);
    let isDone = false;
    const alone = gate.alone(() => Promise.resolve(), noAbort).then(() => (isDone = true));
    for (let i = 0; i < 20; i++) {
      using _held = await gate.hold(noAbort);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    assert.equal(isDone, false);
    stuck[Symbol.dispose]();
    await alone;
  });

  it("ends to wait when the signal is aborted, and lets verbs in", async () => {
    const gate = new SyncGate(times);
    const ends = new AbortController();
    const held = await gate.hold(noAbort);
    const alone = gate.alone(() => Promise.resolve(), ends.signal);
    ends.abort(new Error("the plugin has gone"));
    await assert.rejects(alone, /the plugin has gone/);
    (await gate.hold(noAbort))[Symbol.dispose]();
    held[Symbol.dispose]();

    const failed = gate.alone(() => Promise.reject(new Error("no")), noAbort);
    await assert.rejects(failed, /no/);
    const verb = new AbortController();
    const blocked = Promise.withResolvers<undefined>();
    const working = gate.alone(() => blocked.promise, noAbort);
    await new Promise(setImmediate);
    const waiting = gate.hold(verb.signal);
    verb.abort(new Error("the client has gone"));
    await assert.rejects(waiting, /the client has gone/);
    blocked.resolve(undefined);
    await working;
  });
});
