import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger as log } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { runWithTimeoutThenBackground } from "./run-with-timeout.ts";
import { Janitor } from "./janitor.ts";

function deps() {
  const tasks = new TaskGroup(log);
  return { tasks, log, janitor: new Janitor({ tasks, log }) };
}

test("runWithTimeoutThenBackground() waits for work that ends in time", async () => {
  const all = deps();
  let done = false;
  await runWithTimeoutThenBackground(all, "do it", 60_000, async () => {
    await new Promise(setImmediate);
    done = true;
  });
  assert.ok(done);
  assert.deepEqual(all.janitor.owned(), []);
});

test("runWithTimeoutThenBackground() does not wait for work that hangs", async () => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const all = deps();
  await runWithTimeoutThenBackground(all, "do it", 1, () => promise);
  resolve(undefined);
  await all.tasks[Symbol.asyncDispose]();
});

test("runWithTimeoutThenBackground() lets the janitor retry work that fails", async (t) => {
  const all = deps();
  let tries = 0;
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await runWithTimeoutThenBackground(all, "do it", 60_000, () => {
    tries += 1;
    return tries === 1 ? Promise.reject(new Error("not yet")) : Promise.resolve();
  });
  assert.deepEqual(all.janitor.owned(), ["do it"]);
  t.mock.timers.tick(1_000);
  while (all.janitor.owned().length > 0) await new Promise(setImmediate);
  assert.equal(tries, 2);
});
