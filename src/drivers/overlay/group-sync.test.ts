import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { GroupSync } from "./group-sync.ts";

/** A group whose syncs end when the test says so. */
class Disk {
  readonly running: PromiseWithResolvers<undefined>[] = [];
  open = 0;
  readonly group = new GroupSync("unused", () => {
    this.open++;
    return {
      sync: () => {
        const sync = Promise.withResolvers<undefined>();
        this.running.push(sync);
        return sync.promise;
      },
      [Symbol.dispose]: () => {
        this.open--;
      },
    };
  });
}

test("two syncs run at once, and further callers share the one that begins after they asked", async () => {
  const { running, group } = new Disk();
  using writer = group.begin();
  const done: string[] = [];
  const ask = async (name: string): Promise<void> => {
    await writer.sync();
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

test("an error that the sync of one writer is told fails all that have written, and no later one", async () => {
  const { running, group } = new Disk();
  using first = group.begin();
  using second = group.begin();
  const failed = assert.rejects(first.sync(), /EIO/);
  running[0]?.reject(new Error("EIO"));
  await failed;
  using third = group.begin();
  const asked = [assert.rejects(second.sync(), /EIO/), third.sync()];
  running[1]?.resolve(undefined);
  running[2]?.resolve(undefined);
  await Promise.all(asked);
});

test("a failure rejects those that share the sync, and the next one is a new one", async () => {
  const { running, group } = new Disk();
  using writer = group.begin();
  const asked = [writer.sync(), writer.sync(), writer.sync(), writer.sync()];
  const ends = Promise.allSettled(asked);
  running[0]?.resolve(undefined);
  await setImmediate();
  assert.equal(running.length, 3);
  running[1]?.resolve(undefined);
  await setImmediate();
  running[2]?.reject(new Error("ENOSPC"));
  assert.deepEqual(
    (await ends).map(({ status }) => status),
    ["fulfilled", "fulfilled", "rejected", "rejected"],
  );
  using later = group.begin();
  const again = later.sync();
  running[3]?.resolve(undefined);
  await again;
});

test("descriptors are open while there are writers", () => {
  const disk = new Disk();
  const [first, second] = [disk.group.begin(), disk.group.begin()];
  assert.equal(disk.open, 2);
  first[Symbol.dispose]();
  assert.equal(disk.open, 2);
  second[Symbol.dispose]();
  assert.equal(disk.open, 0);
  disk.group.begin()[Symbol.dispose]();
  assert.equal(disk.open, 0);
});
