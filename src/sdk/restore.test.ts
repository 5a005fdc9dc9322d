import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutSnapshot } from "./restore.ts";

test("a fork of a pod leaves no pods when its snapshot cannot be removed", async () => {
  const events: string[] = [];
  const made = {
    pods: [],
    [Symbol.asyncDispose]: () => Promise.resolve(void events.push("remove the pods")),
  };
  const failing = { remove: () => Promise.reject(new Error("remove the snapshot")) };
  await assert.rejects(
    withoutSnapshot(failing, () => Promise.resolve(made)),
    /^Error: remove the snapshot$/,
  );
  assert.deepEqual(events, ["remove the pods"]);
  const fails = (): Promise<never> => Promise.reject(new Error("restore the second pod"));
  await assert.rejects(withoutSnapshot(failing, fails), /^Error: restore the second pod$/);
  const works = { remove: () => Promise.resolve(void events.push("remove the snapshot")) };
  assert.equal(await withoutSnapshot(works, () => Promise.resolve(made)), made);
  await assert.rejects(withoutSnapshot(works, fails), /second pod/);
  assert.deepEqual(events, ["remove the pods", "remove the snapshot", "remove the snapshot"]);
});
