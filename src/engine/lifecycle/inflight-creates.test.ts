import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { systemClock } from "../../base/time.ts";
import { InflightCreates, maxUnclaimed } from "./inflight-creates.ts";

/** InflightCreates whose objects are created by the test, and the results. */
function setUp() {
  const tasks = new TaskGroup(silentLogger);
  const inflightCreates = new InflightCreates({ tasks, clock: systemClock, holdMs: 60_000 });
  const discarded: string[] = [];
  const published: string[] = [];
  /** Requests an object, disconnects during its create, and waits until it is held. */
  const leave = async (name: string): Promise<void> => {
    const made = Promise.withResolvers<string>();
    const caller = new AbortController();
    const asked = inflightCreates.run(name, Buffer.from(name), caller.signal, () => ({
      build: () => made.promise,
      stage: () => "add-network",
      publish: (id) => published.push(id),
      discard: (id) => discarded.push(id),
    }));
    caller.abort(new Error("the caller left"));
    await assert.rejects(asked, /the caller left/);
    made.resolve(`id of ${name}`);
    while (!inflightCreates.unclaimed().includes(name))
      await new Promise((next) => setImmediate(next));
  };
  const claim = (name: string): Promise<string> =>
    inflightCreates.run(name, Buffer.from(name), new AbortController().signal, () => {
      throw new Error(`make "${name}" again`);
    });
  return { inflightCreates, discarded, published, leave, claim };
}

test("InflightCreates holds a bounded number of finished objects, and removes the oldest", async () => {
  const { inflightCreates, discarded, published, leave, claim } = setUp();
  using _ = inflightCreates;
  for (let i = 0; i < maxUnclaimed; i++) await leave(`pod-${i}`);
  assert.deepEqual(discarded, []);
  // One that is claimed does not count any more.
  assert.equal(await claim("pod-0"), "id of pod-0");
  await leave("pod-a");
  assert.deepEqual(discarded, []);
  await leave("pod-b");
  await leave("pod-c");
  assert.deepEqual(discarded, ["id of pod-1", "id of pod-2"]);
  assert.equal(inflightCreates.unclaimed().length, maxUnclaimed);
  assert.equal(inflightCreates.has("pod-1"), false);
  assert.equal(await claim("pod-c"), "id of pod-c");
  assert.deepEqual(published, ["id of pod-0", "id of pod-c"]);
});
