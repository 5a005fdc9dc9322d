import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { removeImage } from "../image/index.ts";
import { FakeEngine } from "../testing/engine.ts";
import type { NodeEvent } from "./node-event.ts";
import { NodeEvents } from "./node-events.ts";

const event: NodeEvent = { kind: "plugin-connected", name: "test", index: "10" };

describe("NodeEvents", () => {
  test("encodes an event once for all readers, and none without them", async (t) => {
    const engine = new FakeEngine(t);
    const encoded: bigint[] = [];
    const events = new NodeEvents({
      encode: (_event, atNs) => {
        encoded.push(atNs);
        return new Uint8Array(100);
      },
      limits: { events: 2, bytes: 1000 },
      clock: engine.world.time,
      log: engine.containers.log,
    });
    events.publish(event);
    assert.equal(encoded.length, 0);
    using slow = events.subscribe();
    using quick = events.subscribe();
    const reader = quick[Symbol.asyncIterator]();
    for (let n = 0; n < 3; n += 1) {
      events.publish(event);
      assert.equal((await reader.next()).value?.length, 100);
    }
    assert.equal(encoded.length, 3);
    await assert.rejects(slow[Symbol.asyncIterator]().next(), { kind: "resource-exhausted" });
    events.publish(event);
    events.close(new RuntimeError("unavailable", "davit is shutting down"));
    assert.equal((await reader.next()).value?.length, 100, "what waits is read before the end");
    await assert.rejects(reader.next(), { kind: "unavailable" });
    assert.throws(() => events.subscribe(), { kind: "unavailable" });
  });

  test("report pulls and removals of images", async (t) => {
    const engine = new FakeEngine(t);
    const id = await engine.pull();
    await removeImage(engine.images, "app");
    await removeImage(engine.images, "app");
    const name = "docker.io/library/app:latest";
    assert.deepEqual(engine.events, [
      { kind: "image-pulled", id, name },
      { kind: "image-removed", id, names: [name] },
    ]);
  });
});
