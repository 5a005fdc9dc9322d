import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { Pulls } from "./pulls.ts";

const never = new AbortController().signal;

test("join() runs equal work once, and returns its result to all callers", async () => {
  const pulls = new Pulls(new TaskGroup(silentLogger));
  const gate = Promise.withResolvers<string>();
  let runs = 0;
  const work = (): Promise<string> => {
    runs++;
    return gate.promise;
  };
  const all = [1, 2, 3].map(() => pulls.join("a", never, work));
  gate.resolve("done");
  assert.deepEqual(await Promise.all(all), ["done", "done", "done"]);
  assert.equal(runs, 1);
  assert.equal(await pulls.join("a", never, () => Promise.resolve("again")), "again");
});

test("join() continues when one caller disconnects, and ends with the last one", async () => {
  const pulls = new Pulls(new TaskGroup(silentLogger));
  const first = new AbortController();
  const second = new AbortController();
  const ended = Promise.withResolvers<unknown>();
  const work = (signal: AbortSignal): Promise<never> =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        ended.resolve(signal.reason);
        reject(signal.reason as Error);
      });
    });
  const one = pulls.join("a", first.signal, work);
  const two = pulls.join("a", second.signal, work);
  let over = false;
  void ended.promise.then(() => {
    over = true;
  });
  first.abort(new Error("first left"));
  await assert.rejects(one, /first left/);
  assert.equal(over, false);
  second.abort(new Error("second left"));
  await assert.rejects(two, /second left/);
  await ended.promise;
  // A new caller gets new work, not the work that is being cancelled.
  assert.equal(await pulls.join("a", never, () => Promise.resolve("new")), "new");
});

test("join() returns a failure to all callers, and the next call tries again", async () => {
  const pulls = new Pulls(new TaskGroup(silentLogger));
  const fail = (): Promise<string> => Promise.reject(new Error("no registry"));
  await assert.rejects(pulls.join("a", never, fail), /no registry/);
  assert.equal(await pulls.join("a", never, () => Promise.resolve("ok")), "ok");
});

test("claim() keeps layers until it is disposed of", () => {
  const pulls = new Pulls(new TaskGroup(silentLogger));
  const layer = `sha256:${"a".repeat(64)}` as const;
  {
    using _claim = pulls.claim([layer]);
    assert.deepEqual([...pulls.claimedChains()].flat(), [layer]);
  }
  assert.deepEqual([...pulls.claimedChains()].flat(), []);
});
