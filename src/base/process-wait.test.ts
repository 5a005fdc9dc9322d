import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turnOfLoop } from "node:timers/promises";
import { gone, ProcessWait } from "./process-wait.ts";

const pending = (): Promise<never> => new Promise(() => undefined);

/** A wait whose process and signal are in the hands of the test. */
function testWait(stallMs = 600_000): {
  readonly wait: ProcessWait;
  readonly end: () => void;
  readonly aborter: AbortController;
} {
  const process = Promise.withResolvers<undefined>();
  const aborter = new AbortController();
  const wait = new ProcessWait({
    gone: process.promise,
    signal: aborter.signal,
    stallMs,
    stalled: () => new Error("no progress"),
  });
  return { wait, end: () => process.resolve(undefined), aborter };
}

test("ProcessWait has the value of a promise, or its failure", async () => {
  using wait = testWait().wait;
  assert.equal(await wait.until(Promise.resolve(1), "limited"), 1);
  await assert.rejects(wait.until(Promise.reject(new Error("no")), "unlimited"), /^Error: no$/);
  assert.equal(await wait.until(Promise.resolve(2), "unlimited"), 2);
});

test("a wait ends with the process, and all later ones", async () => {
  const { wait, end } = testWait();
  using _wait = wait;
  const first = wait.until(pending(), "limited");
  end();
  assert.equal(await first, gone);
  assert.equal(await wait.until(pending(), "unlimited"), gone);
});

test("a wait ends with the reason of the signal, and all later ones", async () => {
  const { wait, aborter } = testWait();
  using _wait = wait;
  const first = wait.until(pending(), "limited");
  aborter.abort(new Error("cancelled"));
  await assert.rejects(first, /^Error: cancelled$/);
  // A failure that nobody waits for any more does not end the process.
  await assert.rejects(wait.until(Promise.reject(new Error("late")), "limited"), /cancelled/);
  await turnOfLoop();
});

test("only a limited wait ends without progress", async () => {
  const { wait, end } = testWait(1);
  using _wait = wait;
  await assert.rejects(wait.until(pending(), "limited"), /^Error: no progress$/);
  const unlimited = wait.until(pending(), "unlimited");
  await assert.rejects(new Promise((_, reject) => setTimeout(reject, 5, new Error("later"))));
  end();
  assert.equal(await unlimited, gone);
});
