import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { beforeAbort, valueWithin, within } from "./wait.ts";

const never = new Promise<never>(() => undefined);

describe("within()", () => {
  test("is true for a promise that is fulfilled in time, with any value", async () => {
    assert.equal(await within(Promise.resolve(undefined), 60_000), true);
    assert.equal(await within(new Promise(setImmediate), 60_000), true);
    assert.equal(await within(Promise.resolve(5), 0), true);
  });

  test("is false for a rejected promise, and does not wait for the time to pass", async () => {
    assert.equal(await within(Promise.reject(new Error("no")), 60_000), false);
  });

  test("is false when the time is over, and ignores a later failure", async () => {
    assert.equal(await within(never, 1), false);
    const { promise, reject } = Promise.withResolvers<undefined>();
    assert.equal(await within(promise, 1), false);
    reject(new Error("too late"));
    // An unhandled rejection fails this file.
    await new Promise(setImmediate);
  });
});

describe("valueWithin()", () => {
  test("gives the value of a promise that is settled in time, or rejects as the promise does", async () => {
    assert.equal(await valueWithin(Promise.resolve(5), 60_000), 5);
    await assert.rejects(valueWithin(Promise.reject(new Error("no")), 60_000), /no/);
  });

  test("is undefined when the time is over, and ignores a later failure", async () => {
    const { promise, reject } = Promise.withResolvers<number>();
    assert.equal(await valueWithin(promise, 1), undefined);
    reject(new Error("too late"));
    await new Promise(setImmediate);
  });
});

describe("beforeAbort()", () => {
  test("gives the value of the promise, or rejects as the promise does", async () => {
    const { signal } = new AbortController();
    assert.equal(await beforeAbort(Promise.resolve(5), signal), 5);
    await assert.rejects(beforeAbort(Promise.reject(new Error("no")), signal), /no/);
  });

  test("rejects with the reason of the signal, and ignores a later failure of the promise", async () => {
    const controller = new AbortController();
    const { promise, reject } = Promise.withResolvers<undefined>();
    const waiting = beforeAbort(promise, controller.signal);
    controller.abort(new Error("deadline"));
    await assert.rejects(waiting, /deadline/);
    await assert.rejects(beforeAbort(promise, controller.signal), /deadline/);
    reject(new Error("too late"));
    // An unhandled rejection fails this file.
    await new Promise(setImmediate);
  });
});

test("within() ends with its signal, and keeps no timer after that", async () => {
  const ended = new AbortController();
  const waiting = within(new Promise(() => undefined), 60_000, ended.signal);
  ended.abort();
  assert.equal(await waiting, false);
  assert.equal(
    process.getActiveResourcesInfo().filter((name) => name === "Timeout").length,
    0,
    "no timer is left",
  );
});
