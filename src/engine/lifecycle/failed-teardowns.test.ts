import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../base/time.ts";
import { FailedTeardowns } from "./failed-teardowns.ts";

const fail = (message: string) => () => Promise.reject(new Error(message));

test("FailedTeardowns keeps failures, with the last error, until one succeeds or the subject has ended", async () => {
  const ends = new FailedTeardowns({ ...systemClock, nowMs: () => 0 });
  await assert.rejects(ends.track("a", fail("first")), /first/);
  await assert.rejects(ends.track("b", fail("other")), /other/);
  await assert.rejects(ends.track("a", fail("second")), /second/);
  assert.deepEqual(ends.all(), [
    { subject: "a", tries: 2, since: "1970-01-01T00:00:00.000Z", lastError: "second" },
    { subject: "b", tries: 1, since: "1970-01-01T00:00:00.000Z", lastError: "other" },
  ]);
  await ends.track("a", () => Promise.resolve());
  ends.ended("b");
  assert.deepEqual(ends.all(), []);
});
