import assert from "node:assert/strict";
import { test } from "node:test";

import { Batches } from "./batches.ts";

void test("Batches.get() makes one job of what is requested in one turn, up to its size", async () => {
  const jobs: (readonly string[])[] = [];
  const run = (keys: readonly string[]): Promise<readonly string[]> => {
    jobs.push(keys);
    return Promise.resolve(keys.map((key) => key.toUpperCase()));
  };
  const batches = new Batches(run, { size: 2, lateMs: 60_000 });
  const values = await Promise.all(["a", "b", "c"].map((key) => batches.get(key)));
  assert.deepEqual(values, ["A", "B", "C"]);
  assert.deepEqual(jobs, [["a", "b"], ["c"]]);
  assert.equal(await batches.get("d"), "D");
});

void test("Batches.get() reads the others separately when one of a job hangs", async () => {
  const run = (keys: readonly string[]): Promise<readonly string[]> =>
    keys.includes("stuck") ? Promise.withResolvers<never>().promise : Promise.resolve(keys);
  const batches = new Batches(run, { size: 8, lateMs: 1 });
  void batches.get("stuck");
  assert.deepEqual(await Promise.all([batches.get("a"), batches.get("b")]), ["a", "b"]);
});

void test("Batches.get() rejects when its job does, for all of its keys", async () => {
  const batches = new Batches(() => Promise.reject(new Error("broken")), { size: 8, lateMs: 1 });
  const results = await Promise.allSettled([batches.get("a"), batches.get("b")]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["rejected", "rejected"],
  );
});
