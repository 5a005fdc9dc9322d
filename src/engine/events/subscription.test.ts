import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind, RuntimeError } from "../../base/errors.ts";
import { Subscription } from "./subscription.ts";

const event = (text: string): Uint8Array => Buffer.from(text);
const limits = { events: 3, bytes: 10 };

/** What a reader gets until the end, and the error at the end. */
async function readAll(subscription: Subscription): Promise<{ got: string[]; error: unknown }> {
  const got: string[] = [];
  try {
    for await (const each of subscription) got.push(String(each));
    return { got, error: undefined };
  } catch (error) {
    return { got, error };
  }
}

describe("Subscription", () => {
  test("gives the events in order, also those that come while the reader waits", async () => {
    const subscription = new Subscription(limits, () => undefined);
    const reading = readAll(subscription);
    for (const text of ["a", "b", "c", "d", "e"]) {
      subscription.push(event(text));
      await Promise.resolve();
      await new Promise(setImmediate);
    }
    subscription[Symbol.dispose]();
    assert.deepEqual(await reading, { got: ["a", "b", "c", "d", "e"], error: undefined });
  });

  for (const [what, texts] of [
    ["too many events", ["a", "b", "c", "d"]],
    ["too many bytes", ["12345", "678901"]],
    ["one event with too many bytes", ["12345678901"]],
  ] as const) {
    test(`drops all events of a reader that has ${what}, and says so`, async () => {
      let ends = 0;
      const subscription = new Subscription(limits, () => {
        ends += 1;
      });
      const taken = texts.map((text) => subscription.push(event(text)));
      assert.deepEqual([taken.at(-1), taken.filter((each) => !each).length], [false, 1]);
      assert.equal(ends, 1, "it has ended before the reader reads");
      assert.ok(subscription.push(event("x")), "later ones are ignored");
      const { got, error } = await readAll(subscription);
      assert.deepEqual(got, []);
      assert.ok(isKind(error, "resource-exhausted"));
      assert.match(String(error), /open a new stream, list the objects again/);
    });
  }

  test("holds as much again after the reader has read", async () => {
    const subscription = new Subscription(limits, () => undefined);
    const reader = subscription[Symbol.asyncIterator]();
    for (let round = 0; round < 5; round++) {
      for (let n = 0; n < 3; n++) assert.ok(subscription.push(event("123")));
      for (let n = 0; n < 3; n++) assert.equal(String((await reader.next()).value), "123");
    }
  });

  test("ends with its first error, after what is waiting", async () => {
    let ends = 0;
    const subscription = new Subscription(limits, () => {
      ends += 1;
    });
    subscription.push(event("a"));
    subscription.fail(new RuntimeError("unavailable", "first"));
    subscription.fail(new RuntimeError("internal", "second"));
    const { got, error } = await readAll(subscription);
    assert.deepEqual([got, String(error), ends], [["a"], "RuntimeError: first", 1]);
  });
});
