import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../base/logger.ts";
import { untilRecorded } from "./until-recorded.ts";

test("untilRecorded() tries until the record is written", async (t) => {
  const keepAlive = setInterval(() => undefined, 1_000);
  t.after(() => {
    clearInterval(keepAlive);
  });
  let tries = 0;
  const write = (): void => {
    if (++tries < 3) throw new Error("disk full");
  };
  await untilRecorded(write, silentLogger, new AbortController().signal, 1);
  assert.equal(tries, 3);
});

test("untilRecorded() ends with the daemon", async () => {
  const write = (): void => {
    throw new Error("disk full");
  };
  await assert.rejects(untilRecorded(write, silentLogger, AbortSignal.abort(), 1), {
    name: "AbortError",
  });
});
