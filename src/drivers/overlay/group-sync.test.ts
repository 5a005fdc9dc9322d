import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { GroupSync } from "./group-sync.ts";

test("callers share the sync that begins after they asked", async () => {
  const running: PromiseWithResolvers<undefined>[] = [];
  const group = new GroupSync("unused", () => {
    const sync = Promise.withResolvers<undefined>();
    running.push(sync);
    return sync.promise;
  });
  const done: string[] = [];
  const ask = async (name: string): Promise<void> => {
    await group.sync();
    done.push(name);
  };
  const asked = [ask("first"), ask("second"), ask("third")];
  assert.equal(running.length, 1);
  running[0]?.resolve(undefined);
  await setImmediate();
  assert.deepEqual(done, ["first"]);
  assert.equal(running.length, 2);
  asked.push(ask("fourth"));
  running[1]?.resolve(undefined);
  await setImmediate();
  assert.deepEqual(done, ["first", "second", "third"]);
  assert.equal(running.length, 3);
  running[2]?.resolve(undefined);
  await Promise.all(asked);
});

test("a failure rejects the requests that waited for it, and the next sync is a new one", async () => {
  let fail = true;
  const group = new GroupSync("unused", async () => {
    await setImmediate();
    if (fail) throw new Error("EIO");
  });
  const [one, two] = [group.sync(), group.sync()];
  await assert.rejects(one, /EIO/);
  fail = false;
  await two;
  await group.sync();
});
