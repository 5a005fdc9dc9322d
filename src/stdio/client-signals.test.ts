import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { silentLogger } from "../base/logger.ts";
import { followSignals } from "./client-signals.ts";

test("followSignals() sends one signal after the other, and none after its end", async () => {
  const sent: number[] = [];
  const more = Promise.withResolvers<undefined>();
  async function* signals(): AsyncGenerator<number> {
    yield 1;
    yield 15;
    await more.promise;
    yield 9;
  }
  const following = followSignals(
    signals(),
    async (signal) => {
      sent.push(signal);
      await turn();
    },
    silentLogger,
  );
  for (let at = 0; at < 5; at++) await turn();
  assert.deepEqual(sent, [1, 15]);
  following[Symbol.dispose]();
  more.resolve(undefined);
  for (let at = 0; at < 5; at++) await turn();
  assert.deepEqual(sent, [1, 15]);
});

test("followSignals() survives a signal that cannot be sent, and no signals", async () => {
  async function* signals(): AsyncGenerator<number> {
    yield 1;
  }
  const fails = (): Promise<void> => Promise.reject(new Error("gone"));
  using _one = followSignals(signals(), fails, silentLogger);
  using _none = followSignals(undefined, fails, silentLogger);
  await turn();
  await turn();
});
