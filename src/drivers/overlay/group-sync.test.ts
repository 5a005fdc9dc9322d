import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { GroupSync } from "./group-sync.ts";

test("two syncs run at once, and further callers share the one that begins after they asked", async () => {
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
  const asked = [ask("first"), ask("second"), ask("third"), ask("fourth")];
  assert.equal(running.length, 2);
  running[1]?.resolve(undefined);
  await setImmediate();
  assert.deepEqual(done, ["second"]);
  assert.equal(running.length, 3);
  asked.push(ask("fifth"));
  assert.equal(running.length, 3);
  running[2]?.resolve(undefined);
  await setImmediate();
  assert.deepEqual(done, ["second", "third", "fourth"]);
  assert.equal(running.length, 4);
  running[0]?.resolve(undefined);
  running[3]?.resolve(undefined);
  await Promise.all(asked);
});

test("a failure rejects the requests that waited for it, and the next sync is a new one", async () => {
  let syncs = 0;
  const group = new GroupSync("unused", async () => {
    const isFailing = syncs++ < 2;
    await setImmediate();
    if (isFailing) throw new Error("EIO");
  });
  const asked = [group.sync(), group.sync(), group.sync()];
  const ends = await Promise.allSettled(asked);
  assert.deepEqual(
    ends.map(({ status }) => status),
    ["rejected", "rejected", "fulfilled"],
  );
  await group.sync();
});
